"""The end of a worker's output: the last bytes, and how many are missing before them."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.workers.worker_log import LogTail


@given(pieces=st.lists(st.binary(max_size=300)), kept=st.integers(1, 500))
def test_the_end_of_a_log_is_kept(pieces: list[bytes], kept: int) -> None:
    """The last bytes are kept, and those before are counted."""
    reading, writing = os.pipe()
    try:
        log = LogTail(reading, kept)
        for piece in pieces:
            os.write(writing, piece)
            log.read()
        written = b"".join(pieces)
        expected = written[-kept:].decode("utf-8", "replace")
        missing = max(0, len(written) - kept)
        assert log.text() == (
            f"[{missing} bytes before this were dropped]\n{expected}" if missing else expected
        )
    finally:
        os.close(reading)
        os.close(writing)


def test_a_flood_is_read_in_pieces() -> None:
    """One call reads no more than the rate, and says that there is more; the last one finds the end."""
    reading, writing = os.pipe()
    try:
        log = LogTail(reading, kept=10, rate=1 << 16)
        os.write(writing, b"x" * (1 << 16))
        assert log.read()
        assert not log.read()
        assert log.dropped == (1 << 16) - 10
        log.clear()
        assert (log.text(), log.dropped, log.closed) == ("", 0, False)
    finally:
        os.close(writing)
    assert not log.read()
    assert log.closed
    os.close(reading)
