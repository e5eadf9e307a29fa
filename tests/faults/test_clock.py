"""Group I: the wall clock jumps by an hour or a year, both ways. Only records may notice."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from dicomnode.host.ledger.states import InstanceState
from raw_peer import ACCEPTED, RELEASED, RawPeer, check_echo, store_message
from receiving import encoded, receiving, small_dataset
from route_under_fault import route

HOUR, YEAR = 3600.0, 365 * 86_400.0


@pytest.mark.parametrize("jump", [HOUR, -HOUR, YEAR, -YEAR])
def test_live_associations_survive_a_jump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """An association that is idle, and one in the midst of a message, go on after the clock was set."""
    true_time = time.time
    with receiving(tmp_path) as (receiver, store_handler, _spool):
        with RawPeer(receiver.address) as idle, RawPeer(receiver.address) as busy:
            assert idle.associate() == busy.associate() == ACCEPTED
            message = store_message("1.2.3", encoded(small_dataset(SOPInstanceUID="1.2.3")))
            busy.send(message[:3000])
            monkeypatch.setattr(time, "time", lambda: true_time() + jump)
            time.sleep(1.2)  # two ticks of the reader
            busy.send(message[3000:])
            assert busy.status() == 0
            assert idle.echo() == 0
            check_echo(receiver.address)
            assert idle.release() == busy.release() == RELEASED
        store_handler.wait_for_end(3)
        assert all(released for _association, released in store_handler.ended)


@pytest.mark.parametrize("jump", [HOUR, -YEAR])
def test_deadlines_hold_in_spite_of_a_jump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """A clock that was set does not keep a silent connection alive."""
    true_time = time.time
    with (
        receiving(tmp_path, acse_timeout=1.5) as (receiver, _store_handler, _spool),
        RawPeer(receiver.address) as peer,
    ):
        monkeypatch.setattr(time, "time", lambda: true_time() + jump)
        assert peer.receive()[0] in {0, 7}


@pytest.mark.parametrize("jump", [HOUR, -YEAR])
def test_no_deadline_comes_early_by_a_jump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """A clock that was set does not end the time that a connection has for its request."""
    true_time = time.time
    with (
        receiving(tmp_path, acse_timeout=300) as (receiver, _store_handler, _spool),
        RawPeer(receiver.address) as early,
        RawPeer(receiver.address) as peer,
    ):
        monkeypatch.setattr(time, "time", lambda: true_time() + jump)
        early.send(b"\0")  # wakes the reader of this one, which looks at its deadline
        check_echo(receiver.address)
        time.sleep(1.2)  # two ticks of the reader
        assert early.is_open
        assert peer.associate() == ACCEPTED


@pytest.mark.parametrize(("passed", "expired"), [(2 * HOUR, True), (HOUR / 2, False), (-YEAR, False)])
def test_expiry_over_a_restart(tmp_path: Path, passed: float, expired: bool) -> None:
    """The time for which the host was down counts to a patient's age; a clock that was set back does not."""
    with route(tmp_path, config="expires = 3600.0\nopen_association_wait = 1.0") as made:
        made.start()
        images = made.new_patient()[:2]
        assert made.send(images) == [0, 0]
        made.host.stop()
        with closing(sqlite3.connect(made.host.data / "ledger.sqlite")) as ledger, ledger:
            ledger.execute("UPDATE instance SET received = received - ?", (passed,))
            ledger.execute("UPDATE association SET started = started - ?", (passed,))
        made.start()
        if expired:
            made.host.wait_for_log("2 images expired: no image came for 3600 s")
        else:
            quiet = made.host.ask("status", patients=True)["pipelines"]["three"]["patients"][0]["quiet"]
            assert max(passed, 0) <= quiet < max(passed, 0) + 120
        states = [row.state for image in images for row in made.rows()[image.uid]]
        assert states == [InstanceState.EXPIRED if expired else InstanceState.WAITING] * 2
        made.host.stop()
