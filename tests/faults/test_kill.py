"""Group D: the host is killed at any instant, or told to stop: nothing is lost, nothing comes twice.

The pipeline takes any number of images, so that nothing but the ends of associations says which patient is
whole. After each kill, while the host is down: every acknowledged instance lies whole in the spool, or its
patient's result was delivered, and no result is of a part of a patient's images. After the last restart:
every patient of whom all images were acknowledged and the association was released is processed; what was cut
off is sent again, as senders do; and folder and PACS have each result once, under the UID that can be
foretold.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dicomnode.host.foundation.failpoints import KILL_POINTS
from peer_programs import storescp
from raw_peer import ABORT
from route_under_fault import UNPROVEN, result_uid, route

peers = pytest.mark.peers


@peers
@pytest.mark.parametrize(
    "times",
    [
        pytest.param(4, marks=pytest.mark.timeout(600)),
        pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(7200)]),
    ],
)
def test_killed_at_random(tmp_path: Path, times: int) -> None:
    """SIGKILL at random instants, with four senders sending: nothing lost, torn, twice, or of a part."""
    with (
        storescp(tmp_path / "pacs") as pacs,
        route(tmp_path / "host", peer=pacs.port, plugin=UNPROVEN, patience=300) as made,
    ):
        chance = random.Random(times)
        for number in range(times):
            if number % 3 == 2:
                made.host.start_only()
                time.sleep(chance.uniform(0.2, 2.0))  # while it starts, too
                made.host.kill()
                made.check_disk()
            made.start()
            with made.senders():
                time.sleep(chance.uniform(0.02, 0.8))  # any instant
                made.host.kill()
            made.check_disk()
            made.check_whole()
        made.figures["kills"] = times
        made.start()
        made.wait_delivered(300 + 5 * times)  # what was released, without another word of a sender
        made.send_the_rest()
        made.wait_delivered(300 + 5 * times)
        made.check_whole()
        made.check(pacs.stored())
        made.host.stop()


@peers
@pytest.mark.timeout(600)
def test_killed_at_every_named_point(tmp_path: Path) -> None:
    """SIGKILL at each station of the route: nothing lost, nothing torn, nothing twice, nothing of a part."""
    with (
        storescp(tmp_path / "pacs") as pacs,
        route(tmp_path / "host", peer=pacs.port, plugin=UNPROVEN, patience=300) as made,
    ):
        for point in KILL_POINTS:
            if made.start(point):
                with made.senders(patients=8):
                    made.died(300)
            made.check_disk()
            made.check_whole()
        made.start()
        made.wait_delivered()
        made.send_the_rest()
        made.wait_delivered()
        made.check_whole()
        made.check(pacs.stored())
        made.host.stop()
        made.figures["points"] = len(KILL_POINTS)


def test_told_to_stop(tmp_path: Path) -> None:
    """SIGTERM while four senders send: exit code 0, nothing lost; what was cut off waits for its sender."""
    with route(tmp_path, plugin=UNPROVEN) as made:
        made.start()
        before = made.send_patient()
        made.wait_delivered()
        cut_off, aborted = made.new_patient(), made.new_patient()
        with made.connect() as peer, made.connect() as other, made.senders():
            for images, connection in ((cut_off, peer), (aborted, other)):
                assert {made.acknowledged.store(connection, image) for image in images} == {0}
            other.send(ABORT)
            assert other.receive()[0] == 0
            made.wait_for(lambda: len(made.acknowledged.patients()) > 12)
            began = time.monotonic()
            made.host.stop()
            made.figures["seconds to stop"] = round(time.monotonic() - began, 2)
        made.check_disk()
        made.start()
        made.wait_delivered()
        assert str(result_uid(before)) in made.delivered()
        assert not {str(result_uid(cut_off)), str(result_uid(aborted))} & set(made.delivered())
        made.check_whole()
        made.send_the_rest()
        made.wait_delivered()
        assert {str(result_uid(cut_off)), str(result_uid(aborted))} <= set(made.delivered())
        made.check_whole()
        made.check()
        made.host.stop()


def test_a_second_host_refuses_the_data_directory(tmp_path: Path) -> None:
    """Of two hosts on one data directory the second says who holds it and exits with 3; the first goes on."""
    with route(tmp_path) as made:
        made.start()
        process = made.host.process
        assert process is not None
        second = subprocess.run(
            [sys.executable, "-m", "dicomnode.cli", "run", "--config", made.host.config],
            env=made.host.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 3
        assert f"is in use by another host (process {process.pid})" in second.stderr
        assert "Traceback" not in second.stderr
        made.send_patient()
        made.wait_delivered()
        made.check()
