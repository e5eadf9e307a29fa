"""What waits, printed: keys whole, other lines within the terminal; nothing a terminal would obey."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode.cli.tables import shown_time
from dicomnode.cli.waiting import held_kinds, print_unprocessed, print_waiting, shown_rules

KEY = "P" * 100 + "/1.2"


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the terminal have 60 columns."""
    monkeypatch.setattr("dicomnode.cli.waiting.console", lambda: SimpleNamespace(width=60))


def container(**values: Any) -> dict[str, Any]:
    """Return what the host says of a container."""
    return {"container_key": "P1/1.2", "inputs": {"ct": 2, "pet": 0}, "quiet": None, **values}


def printed(capsys: pytest.CaptureFixture[str], **pipelines: Any) -> list[str]:
    """Return the lines that are printed."""
    print_waiting(pipelines)
    return capsys.readouterr().out.splitlines()


def test_one_container_and_several(capsys: pytest.CaptureFixture[str]) -> None:
    """How many wait, and what one job is; a pipeline for which nothing waits is left out."""
    lines = printed(
        capsys,
        one={"patients": [container()], "gather_by": "study"},
        none={"patients": [], "gather_by": "study"},
        down={},
        two={"patients": [container(), container(container_key="P2")]},
    )
    assert lines == [
        "one (by study): 1 waits",
        "  P1/1.2",
        "    images   ct 2, pet 0",
        "two: 2 wait",
        "  P1/1.2",
        "    images   ct 2, pet 0",
        "  P2",
        "    images   ct 2, pet 0",
    ]


def test_when_the_last_image_came(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the host knows it."""
    lines = printed(capsys, one={"patients": [container(quiet=125.0)]})
    assert lines[2] == "    images   ct 2, pet 0; the last one came 2 min ago"


def test_a_container_of_which_a_failed_job_has_all_images(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of it waits but to be told of."""
    held = container(inputs={}, held="part", held_because="it is a part of job 1: 1 of its 3 images")
    assert printed(capsys, one={"patients": [held]})[2:] == [
        "    images   none that are not in a failed job",
        "    held     part: it is a part of job 1: 1 of its 3 images",
    ]


def test_what_is_held(capsys: pytest.CaptureFixture[str]) -> None:
    """Its kind and why; what it waits for is not said of what waits for nothing."""
    held = container(held="late", held_because="they came after job 7", waits_for="a release", missing=None)
    assert printed(capsys, one={"patients": [held]})[3:] == ["    held     late: they came after job 7"]


def test_what_is_missing_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where it is what the container is held for, or waits for."""
    incomplete = container(held="incomplete", held_because="ct: no image", missing="ct: no image")
    waits = container(held=None, waits_for="ct: no image", missing="ct: no image")
    both = container(held=None, waits_for="the end of an association", missing="ct: no image")
    lines = printed(capsys, one={"patients": [incomplete, waits, both]})
    assert [line.strip() for line in lines if "ct: " in line or "end of" in line] == [
        "held     incomplete: ct: no image",
        "missing  ct: no image",
        "waits    for the end of an association",
        "missing  ct: no image",
    ]


def test_lines_are_as_wide_as_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Only a key is longer, on a line of its own: no word is cut, so that it can be copied."""
    uid = "1." * 40 + "1"
    held = container(container_key=KEY, held="late", held_because=f"they came after the job of series {uid}")
    lines = printed(capsys, one={"patients": [held]})
    assert [line for line in lines if len(line) > 60] == [f"  {KEY}", f"             {uid}"]


def test_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    """Keys and reasons are an image's own words."""
    evil = container(container_key="P\x1b[2J", held="incomplete", held_because="ct: \x1b[2J")
    assert "\x1b" not in "".join(printed(capsys, **{"one\x1b[2J": {"patients": [evil]}}))


def test_what_says_when_a_job_starts(capsys: pytest.CaptureFixture[str]) -> None:
    """Once for each pipeline, by the names of the keys; only what holds."""
    rules = {
        "settle": 0.5,
        "open_association_wait": 90.0,
        "expires": None,
        "late_images": "hold",
        "expected_images": {},
        "choose_series": [],
    }
    assert shown_rules(rules) == "settle 0.5 s, open_association_wait 90 s, late_images hold"
    rules |= {"expires": 600.0, "expected_images": {"ct": 48, "pet": "peer"}, "choose_series": ["ct"]}
    both = [container(), container(container_key="P2")]
    assert printed(capsys, one={"patients": both, "rules": rules, "gather_by": "study"}) == [
        "one (by study): 2 wait",
        "  settle 0.5 s, open_association_wait 90 s, expires 600 s,",
        "  late_images hold, expected_images of ct 48,",
        "  expected_images of pet peer, choose_series of ct",
        "  P1/1.2",
        "    images   ct 2, pet 0",
        "  P2",
        "    images   ct 2, pet 0",
    ]


def test_kinds_that_are_held() -> None:
    """Counted by kind; nothing where nothing is held."""
    assert held_kinds({"held": {"late": 2, "part": 1}}) == "3 containers held (2 late, 1 part)"
    assert held_kinds({"held": {"part": 1}}) == "1 container held (1 part)"
    assert held_kinds({"held": {}}) == ""


def unprocessed(outcome: str, images: int, reason: str) -> dict[str, Any]:
    """Return what the ledger says of images that no job gets."""
    last = "2026-11-28T06:10:11+00:00"
    return {
        "SeriesInstanceUID": "1.2.3",
        "outcome": outcome,
        "images": images,
        "last": last,
        "reason": reason,
    }


@pytest.mark.parametrize("held", [True, False])
def test_images_that_no_job_gets(capsys: pytest.CaptureFixture[str], held: bool) -> None:
    """By pipeline and series, with their number and the reason; those that are held where that is wanted."""
    series = [
        unprocessed("refused", 1, "ct: Modality is MR, not CT, and it never will be"),
        unprocessed("held", 9, "they came after job 7"),
        unprocessed("discarded", 3, "\x1b[2J"),
    ]
    table = {"pet": {"unprocessed_series": series}, "mr": {"unprocessed_series": series[1:2]}, "ct": {}}
    print_unprocessed(table, held=held)
    at = shown_time("2026-11-28T06:10:11+00:00")
    of_held = [
        "  1.2.3",
        f"    held       9 images, the last one {at}:",
        "               they came after job 7",
    ]
    assert capsys.readouterr().out.splitlines() == [
        "pet: images that no job gets, by series",
        "  1.2.3",
        f"    refused    1 image, the last one {at}:",
        "               ct: Modality is MR, not CT, and it never will",
        "               be",
        *(of_held if held else []),
        "  1.2.3",
        f"    discarded  3 images, the last one {at}:",
        "               \\x1b[2J",
        *(["mr: images that no job gets, by series", *of_held] if held else []),
    ]
