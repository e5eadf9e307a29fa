"""When a job starts, with DCMTK's senders: whole series, one job each, whatever becomes of associations.

The lines of issue 11, each on the running host. What belongs together is in ``test_gathering_groups.py``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gathering_site import Site, wait_for

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]


# -- associations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "count", "first", "brought"),
    [
        pytest.param("SERIES", 20, 11, 1, id="one series"),
        pytest.param("VOLUME", 48, 31, 1, id="complete volumes"),
        pytest.param("PATIENTLY", 20, 11, 0, id="the second has brought nothing yet"),
    ],
)
def test_a_series_over_two_overlapping_associations_is_one_job(
    site: Site, title: str, count: int, first: int, brought: int
) -> None:
    """The first one is released in the middle of the second; each half would be complete by itself."""
    series = site.series(count)
    with site.paused(title, series.files[first:], after=brought) as second:
        site.storescu(title, *series.files[:first])
        if brought:
            site.pass_settle()
        assert site.jobs(series) == []
        second.go_on()
    site.wait_delivered(series)


def test_one_association_an_image_is_one_job(site: Site) -> None:
    """A storescu for each file, one after the other: the end of the last one is waited for."""
    series = site.series(6)
    for file in series.files:
        site.storescu("PATIENTLY", file)
    site.wait_delivered(series)


def test_a_pause_on_an_open_association_starts_nothing(site: Site) -> None:
    """However much longer than the settling time it is."""
    series = site.series(8)
    waits_for = r"the end of 1 association that brought images of it, for at most \d+ s more"
    with site.paused("SERIES", series.files, after=3) as sender:
        for until in (5, 7, None):
            site.pass_settle()
            assert site.jobs(series) == []
            (entry,) = site.waiting(series)
            assert entry["open_associations"] == 1
            assert re.fullmatch(waits_for, entry["waits_for"])
            sender.go_on(until)
    site.wait_delivered(series)


@pytest.mark.parametrize("end", ["aborted", "cut off"])
def test_an_abort_completes_nothing_until_the_sender_sends_again(site: Site, end: str) -> None:
    """Known images count: what was aborted half way and sent again, whole, is one job of all of them."""
    series = site.series(6)
    if end == "aborted":
        site.storescu("SERIES", *series.files[:4], abort=True)
    else:
        with site.paused("SERIES", series.files, after=4) as sender:
            sender.kill()
    site.pass_settle()
    (entry,) = site.waiting(series)
    assert (site.jobs(series), entry["held"], entry["inputs"]) == ([], "interrupted", {"images": 4})
    site.dcmsend("SERIES", series.folder)
    site.wait_delivered(series)


@pytest.mark.parametrize("stored", [1, 5, 8])
def test_a_host_that_is_killed_in_the_middle_waits_for_the_sender(tmp_path: Path, stored: int) -> None:
    """After the restart time alone completes nothing; the series, sent again, is one job of all of it.

    Also where all images were stored: without a release nobody knows that it was all of them.
    """
    site = Site(tmp_path)
    series = site.series(8)
    with site.host:
        with site.paused("SERIES", series.files, after=stored) as sender:
            site.host.kill()
            sender.fail()
        site.host.start()
        site.pass_settle()
        (entry,) = site.waiting(series)
        assert (site.jobs(series), entry["held"]) == ([], "interrupted")
        assert entry["inputs"] == {"images": stored}
        assert "send them again" in entry["waits_for"]
        site.storescu("SERIES", series.folder)
        site.wait_delivered(series)


# -- again --------------------------------------------------------------------------------------------------


def test_a_series_that_is_sent_again_across_its_delivery_makes_no_job_of_the_rest(site: Site) -> None:
    """What comes while the job runs is known; what comes after the delivery is held, as a part of it."""
    series = site.series(8)
    site.hold_jobs(series.patient)
    site.storescu("SERIES", series.folder)
    site.wait_running(series.patient)
    with site.paused("SERIES", series.files, after=4) as sender:
        site.let_jobs_end(series.patient)
        site.wait_delivered(series)
        sender.go_on()
    site.pass_settle()
    site.wait_delivered(series)
    (entry,) = site.waiting(series)
    assert entry["held"] == "part"
    assert "4 of its 8 images" in entry["waits_for"]
    site.host.wait_for_log(r"a container is held: it is a part of job \d+: 4 of its 8 images")
    site.wait_in_no_job(series, ("held", 4, r"it is a part of job \d+: 4 of its 8 images"))
    site.storescu("SERIES", series.folder)  # all of it: the job runs again, under its own UIDs
    wait_for(lambda: site.waiting(series) == [])
    site.wait_delivered(series)
    site.wait_in_no_job(series)


def test_a_series_that_is_sent_again_while_its_job_runs_is_known(site: Site) -> None:
    """Nothing waits for a second job."""
    series = site.series(4)
    site.hold_jobs(series.patient)
    site.storescu("SERIES", series.folder)
    site.wait_running(series.patient)
    site.storescu("SERIES", series.folder)
    site.pass_settle()
    assert site.waiting(series) == []
    site.let_jobs_end(series.patient)
    site.wait_delivered(series)
    site.pass_settle()
    assert [state for state, _ in site.jobs(series)] == ["delivered"]


def test_a_series_that_is_sent_again_after_its_job_has_failed_runs_again(site: Site) -> None:
    """The same job, with the same images: what made it fail may be mended."""
    series = site.series(8)
    fail = site.directory / f"fail-{series.patient}"
    fail.touch()
    site.storescu("SERIES", series.folder)
    wait_for(lambda: site.jobs(series) == [("failed", series.uids)])
    fail.unlink()
    site.storescu("SERIES", series.folder)
    site.wait_delivered(series)
    site.host.wait_for_log(r"the images of job \d+ came again")
