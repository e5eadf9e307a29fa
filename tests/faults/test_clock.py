"""Group I: the wall clock jumps by an hour or a year, both ways. Only records may notice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from raw_peer import ACCEPTED, RELEASED, RawPeer, echo_time, store_message
from receiving import encoded, receiving, small_dataset

HOUR, YEAR = 3600.0, 365 * 86_400.0


@pytest.mark.parametrize("jump", [HOUR, -HOUR, YEAR, -YEAR])
def test_live_associations_survive_a_jump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """An association that is idle, and one in the midst of a message, go on after the clock was set."""
    true_time = time.time
    with receiving(tmp_path) as (receiver, sink, _spool):
        with RawPeer(receiver.address) as idle, RawPeer(receiver.address) as busy:
            assert idle.associate() == busy.associate() == ACCEPTED
            message = store_message("1.2.3", encoded(small_dataset(SOPInstanceUID="1.2.3")))
            busy.send(message[:3000])
            monkeypatch.setattr(time, "time", lambda: true_time() + jump)
            time.sleep(1.2)  # two ticks of the reader
            busy.send(message[3000:])
            assert busy.status() == 0
            assert idle.echo() == 0
            assert echo_time(receiver.address) < 1
            assert idle.release() == busy.release() == RELEASED
        sink.wait_for_end(3)
        assert all(released for _association, released in sink.ended)


@pytest.mark.parametrize("jump", [HOUR, -YEAR])
def test_deadlines_hold_in_spite_of_a_jump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """A clock set back does not keep a silent connection alive, one set forward does not end it early."""
    true_time = time.time
    with (
        receiving(tmp_path, acse_timeout=1.5) as (receiver, _sink, _spool),
        RawPeer(receiver.address) as peer,
    ):
        begin = time.monotonic()
        monkeypatch.setattr(time, "time", lambda: true_time() + jump)
        assert peer.receive()[0] in {0, 7}
        assert 1 < time.monotonic() - begin < 3
