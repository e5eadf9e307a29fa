"""Tables: a line a row where no terminal is; in a narrow terminal the longest text goes below its row."""

from __future__ import annotations

import io
import re
import sys

import pytest

from dicomnode.cli.tables import print_table, wrapped_line

HEADINGS = (">job", "state", "changed", "reason")
LONG = "the result must not be sent out: " + "something is wrong with it; " * 15
ROWS = [(1, "failed", "2026-11-24 14:28:40", LONG), (12, "delivered", "2026-11-24 14:28:41", "confirmed")]


class Terminal(io.StringIO):
    """What says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_piped_each_row_is_a_line_as_long_as_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """One long reason makes no other line longer, and nothing is broken or padded at the end."""
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    print_table(HEADINGS, ROWS)
    heading, rule, failed, delivered = out.getvalue().splitlines()
    assert heading.split() == ["job", "state", "changed", "reason"]
    assert set(rule) == {"-", " "}
    assert failed.endswith(LONG.rstrip())
    assert delivered == " 12   delivered   2026-11-24 14:28:41   confirmed"
    assert max(map(len, (heading, rule, delivered))) < 60


def test_in_a_narrow_terminal_the_longest_text_goes_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the terminal's width there, and the other columns are not folded."""
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr(sys, "stdout", out := Terminal())
    print_table(HEADINGS, ROWS)
    lines = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()).splitlines()
    assert all(len(line.rstrip()) <= 70 for line in lines)
    (at,) = [number for number, line in enumerate(lines) if "2026-11-24 14:28:40" in line]
    reason = [line for line in lines[at:] if line.startswith("    ") and line.strip()]
    assert len(reason[0].rstrip()) > 50
    assert any("2026-11-24 14:28:41" in line for line in lines)


def test_in_a_wide_terminal_it_stays_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """One table, the last column folded into what room there is."""
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(sys, "stdout", out := Terminal())
    print_table(HEADINGS, ROWS)
    assert "14:28:40   the result must not be sent out" in out.getvalue()


def test_in_a_terminal_without_room_for_the_columns_no_cell_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each row is a text below its first cell, in which empty cells are not named and no word is cut."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "stdout", out := Terminal())
    uid = "1.2.826.0.1.3680043.8.498.12393786648909626096189467352377066279"
    print_table(
        ("input", "SOP Instance UID", "received", "from", ">images"),
        [("ct", uid, "2026-11-24 14:28:40", None, 12), ("pet", "1.2", "2026-11-24 14:28:41", "PACS", 0)],
        "inputs",
    )
    assert out.getvalue().splitlines() == [
        "inputs",
        "ct",
        "    SOP Instance UID",
        f"    {uid};",
        "    received 2026-11-24 14:28:40; images 12",
        "pet",
        "    SOP Instance UID 1.2; received 2026-11-24 14:28:41; from",
        "    PACS; images 0",
    ]


@pytest.mark.parametrize(("columns", "beside"), [(41, True), (40, False)])
def test_a_table_is_a_grid_where_all_of_it_fits(
    monkeypatch: pytest.MonkeyPatch, columns: int, beside: bool
) -> None:
    """To the character: nothing of it is cropped or folded."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", out := Terminal())
    print_table((">job", "state", "changed", "by"), [(1, "delivered", "2026-11-24 14:28", "A")])
    plain = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())
    assert ("delivered   2026-11-24 14:28   A" in plain) is beside
    assert "2026-11-24 14:28" in plain
    assert "…" not in plain


def test_a_line_that_is_too_long_goes_on_below_itself() -> None:
    """Further in than it begins; a word that is longer than the line is not cut."""
    assert wrapped_line("  one two three four", 12) == "  one two\n    three\n    four"
    assert wrapped_line("  one two", 12) == "  one two"
    assert wrapped_line("one 1234567890123", 8, 3) == "one\n   1234567890123"
    assert wrapped_line("", 8) == ""
