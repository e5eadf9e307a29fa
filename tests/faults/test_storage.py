"""Group E: storage that is full, fails, is slow, loses or changes what it was given.

What cannot be kept is refused with 0xA700, never half of it is visible, and once the storage is back all
that was acknowledged is processed and delivered.
"""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicomnode.host.ledger.states import InstanceState
from disk_faults import DiskFaults
from file_systems import fill, small_tmpfs
from raw_peer import check_echo, echo_time
from route_under_fault import Instance, Route, result_uid, route

OUT_OF_RESOURCES = 0xA700
SUCCESS = 0x0000
RETRIES = "attempts = 50\nretry_after = 0.1"


def sent_again(made: Route, images: list[Instance], *, until: float = 20) -> None:
    """Send images until all are acknowledged, as a sender does that is told 0xA700."""
    deadline = time.monotonic() + until
    while set(made.send(images)) != {SUCCESS}:
        assert time.monotonic() < deadline
        time.sleep(0.1)  # the sender's own patience


def nothing_half_visible(made: Route) -> None:
    """Check that whatever has a final name is whole, and nothing was left under a temporary one."""
    known = {image.sha256 for image in made.acknowledged.sent.values()}
    assert set(made.kept()) <= known
    assert not list((made.host.data / "spool" / "incoming").iterdir())


# -- failing and slow ----------------------------------------------------------------------------------------


def test_syncs_that_fail(tmp_path: Path) -> None:
    """EIO, EROFS, ENOSPC are 0xA700, no sync is tried again on the same file; the ledger's is waited out."""
    faults = DiskFaults(tmp_path / "faults")
    with route(tmp_path / "host", RETRIES, environment=faults.environment) as made:
        made.start()
        images = made.new_patient()
        for part in ("/spool/incoming/", "/spool/kept"):
            with faults.failing("fsync", part):
                assert set(made.send(images)) == {OUT_OF_RESOURCES}
                check_echo(made.address)
            nothing_half_visible(made)
        for call, number in (("create", errno.EROFS), ("write", errno.ENOSPC)):
            with faults.failing(call, "/spool/incoming/", number):
                assert set(made.send(images)) == {OUT_OF_RESOURCES}
        assert made.send(images) == [SUCCESS] * 3
        made.wait_delivered()
        # Neither a file nor the directory that it was put into; the one above has a new entry by then.
        assert not [
            path for path in faults.synced_again() if "/spool/" in path and not path.endswith("/kept")
        ]

        waiting = made.new_patient()
        with faults.failing("fsync", "ledger.sqlite"):
            assert made.send(waiting[:1]) == [SUCCESS]  # durable in the spool, which is what counts
            made.host.wait_for_log("the ledger cannot be written")
            made.wait_for(lambda: made.send(waiting[1:2]) == [OUT_OF_RESOURCES])
            check_echo(made.address)
        made.host.wait_for_log("the ledger can be written again")
        sent_again(made, waiting)
        with faults.failing("fsync", "/outbox/"):
            failing = made.send_patient()
            made.host.wait_for_log(r"attempt \d failed \(disk\)")
        with faults.failing("fsync", "/results"):
            undelivered = made.send_patient()
            made.host.wait_for_log("are tried again later|nothing is sent to")
        made.wait_delivered()
        assert {str(result_uid(each)) for each in (failing, undelivered)} <= set(made.delivered())
        made.check()
        made.host.stop()
        made.figures["answers"] = {f"{key:#06x}": n for key, n in made.acknowledged.statuses.items()}


@pytest.mark.parametrize("delays", [(10, 100), pytest.param((1500,), marks=pytest.mark.slow)])
def test_slow_syncs(tmp_path: Path, delays: tuple[int, ...]) -> None:
    """A disk whose every sync is slow delays answers, shares syncs, and disturbs nobody else."""
    faults = DiskFaults(tmp_path / "faults")
    with route(tmp_path / "host", environment=faults.environment) as made:
        made.start()
        for milliseconds in delays:
            with (
                faults.slow("/data/", milliseconds),
                echoing(made, f"worst echo at {milliseconds} ms"),
                ThreadPoolExecutor(4) as pool,
            ):
                began = time.monotonic()
                sent = [pool.submit(made.send, made.new_patient()) for _ in range(4)]
                assert [future.result() for future in sent] == [[SUCCESS] * 3] * 4
                took = round((time.monotonic() - began) / 3, 2)
                made.figures[f"seconds for an image at {milliseconds} ms"] = took
                made.wait_delivered(120)
        made.check()
        made.host.stop()


def test_nobody_else_waits_for_a_sync(tmp_path: Path) -> None:
    """While the sync of an image does not return, the image is not answered, and others are served."""
    faults = DiskFaults(tmp_path / "faults")
    with route(tmp_path / "host", environment=faults.environment) as made, ThreadPoolExecutor(1) as pool:
        made.start()
        with faults.stalled("/spool/incoming/"):
            sent = pool.submit(made.send, made.new_patient())
            made.wait_for(lambda: any((made.host.data / "spool" / "incoming").iterdir()))
            check_echo(made.address)
            assert made.host.ask("status")
            assert not sent.done()
        assert sent.result(60) == [SUCCESS] * 3
        made.wait_delivered()
        made.check()
        made.host.stop()


@contextmanager
def echoing(made: Route, figure: str) -> Iterator[None]:
    """Send a C-ECHO again and again; each must be answered."""
    echoes: list[float] = []
    over = threading.Event()

    def echo() -> None:
        while not over.wait(0.05):
            echoes.append(echo_time(made.address))

    watch = threading.Thread(target=echo)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
    made.figures[figure] = round(max(echoes), 3)


# -- full ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [24, pytest.param(4, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_a_disk_that_is_full(tmp_path: Path, step: int) -> None:
    """The disk is full at every stage: an image, the ledger, a result, its delivery. All of it recovers."""
    with (
        small_tmpfs(tmp_path / "disk", "12m") as disk,
        route(tmp_path / "host", RETRIES, data=disk / "data") as made,
    ):
        made.start()
        made.send_patient()
        made.wait_delivered()
        for kilobytes in range(0, 121, step):
            filling = fill(disk, leave=kilobytes * 1024)
            patients = [made.new_patient() for _ in range(2)]
            for images in patients:
                assert set(made.send(images)) <= {SUCCESS, OUT_OF_RESOURCES}
            check_echo(made.address)
            made.host.ask("status")
            filling.unlink()
            for images in patients:
                sent_again(made, images)
            made.wait_delivered()
            nothing_half_visible(made)
        made.check()
        made.figures["answers"] = {f"{key:#06x}": n for key, n in made.acknowledged.statuses.items()}
        assert made.acknowledged.statuses[OUT_OF_RESOURCES] > 0
        made.host.stop()


def test_storage_that_gives_out(tmp_path: Path) -> None:
    """Reserve reached, no inode left, the spool removed: refused while it lasts, and told why."""
    with (
        small_tmpfs(tmp_path / "disk", "12m", inodes=400) as disk,
        route(tmp_path / "host", RETRIES, data=disk / "data", host={"reserve": "2 MB"}) as made,
    ):
        made.start()
        images = made.new_patient()
        filling = fill(disk, leave=1_500_000)
        assert set(made.send(images)) == {OUT_OF_RESOURCES}
        made.host.wait_for_log("the disk's reserve is reached")
        filling.unlink()

        crowd = disk / "crowd"
        crowd.mkdir()
        with pytest.raises(OSError, match="No space"):  # noqa: PT012 - how many fit is not known before
            for number in range(500):
                (crowd / str(number)).touch()
        assert set(made.send(images)) == {OUT_OF_RESOURCES}
        shutil.rmtree(crowd)
        sent_again(made, images)
        made.wait_delivered()

        waiting = made.new_patient()
        assert made.send(waiting[:2]) == [SUCCESS] * 2
        shutil.rmtree(made.host.data / "spool")
        assert made.send(waiting[2:]) == [OUT_OF_RESOURCES]
        check_echo(made.address)
        made.host.stop()
        for image in waiting[:2]:  # nobody can give them back
            del made.acknowledged.instances[image.uid]
        made.start()
        assert made.host.wait_for_log("2 files are gone from the spool")
        sent_again(made, waiting)
        made.wait_delivered()
        made.check()
        made.host.stop()


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    """The log's disk is full: the host works on, and goes on logging once there is room."""
    with small_tmpfs(tmp_path / "disk", "256k") as disk:
        config = f'[log]\nfile = "{disk / "host.log"}"\n'
        with route(tmp_path / "host", config) as made:
            made.start()
            made.send_patient()
            filling = fill(disk)
            for _ in range(20):
                made.send_patient()
            made.wait_delivered()
            filling.unlink()
            made.send_patient()
            made.wait_delivered()
            made.check()
            made.host.stop()
            assert "stopped" in (disk / "host.log").read_text()


# -- what was stored is not what it was ----------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "the damaged image"])
def test_a_flipped_bit(tmp_path: Path, whole: bool) -> None:
    """A bit of a waiting file changes: its job fails and says so; once that image is sent again, all is well.

    Sent again with all others of the job, it runs again; by itself it is a part, and the job is replayed.
    """
    with route(tmp_path, RETRIES, host={"checksum_after": 0.2}) as made:
        made.start()
        images, other = made.new_patient(), made.new_patient()
        assert made.send(images[:2]) == [SUCCESS] * 2
        made.wait_for(lambda: sum(bool(row.sha256) for rows in made.rows().values() for row in rows) == 2)
        path = made.kept()[images[1].sha256]
        data = bytearray(path.read_bytes())
        data[-100] ^= 0x40
        path.write_bytes(data)
        assert made.send(images[2:]) == [SUCCESS]
        made.host.wait_for_jobs(1, "failed")
        (job,) = made.host.jobs()
        assert "1 of its 3 input files are not what was received" in job["reason"]
        made.host.wait_for_log(r"failed \(damaged\) after 1 attempt: a dead letter")
        assert made.send(other) == [SUCCESS] * 3
        if whole:
            assert made.send(images) == [SUCCESS] * 3
            made.host.wait_for_log(f"the images of job {job['id']} came again")
        else:
            assert made.send(images[1:2]) == [SUCCESS]
            made.host.wait_for_log(f"a container is held: it is a part of job {job['id']}: 1 of its 3 images")
            assert made.host.ask("replay", job=job["id"]) == "queued"
        made.wait_delivered()
        made.check()
        assert [row.state for row in made.rows()[images[1].uid]] == [InstanceState.RELEASED]
        made.host.stop()


def test_a_ledger_that_is_damaged_or_deleted(tmp_path: Path) -> None:
    """Damaged: the host says so and exits with 3. Moved away: everything is rebuilt from the spool."""
    with route(tmp_path) as made:
        made.start()
        made.send_patient()
        made.wait_delivered()
        waiting, complete = made.new_patient(), made.new_patient()
        with made.connect() as peer:
            for image in waiting[:2] + complete:
                assert made.acknowledged.store(peer, image) == SUCCESS
            made.host.kill()
        ledger = made.host.data / "ledger.sqlite"
        for path in made.host.data.glob("ledger.sqlite-*"):
            path.unlink()
        with ledger.open("r+b") as file:
            file.write(b"\0" * 200)
        refused = subprocess.run(
            [sys.executable, "-m", "dicomnode.cli", "run", "--config", made.host.config],
            env=made.host.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert refused.returncode == 3
        assert "the ledger" in refused.stderr
        assert "Move it away" in refused.stderr
        assert "Traceback" not in refused.stderr
        ledger.unlink()
        made.check_disk()
        made.start()
        made.wait_delivered()
        assert str(result_uid(complete)) in made.delivered()
        assert made.send(waiting[2:]) == [SUCCESS]
        made.wait_delivered()
        del made.acknowledged.instances[next(iter(made.acknowledged.instances))]
        made.host.stop()
