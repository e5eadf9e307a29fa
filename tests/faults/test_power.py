"""Group D: the power is cut. What was acknowledged is on the disk, and in the ledger after the restart."""

from __future__ import annotations

from pathlib import Path

from file_systems import power_cut_disk
from route_under_fault import IMAGES, Route, result_uid, route


def test_the_power_is_cut(tmp_path: Path) -> None:
    """An ext4 loses all that was not synced while four senders send: none of the acknowledged is lost."""
    with power_cut_disk(tmp_path) as disk, route(tmp_path / "host", data=disk.mount / "data") as made:
        for time in range(2):
            made.start()
            with made.senders():
                before = len(made.acknowledged.instances)
                made.wait_for(lambda: len(made.acknowledged.instances) >= before + 150)  # noqa: B023 - called at once
                # A new name each time: ext4 writes the data of a file that was truncated and written anew as
                # it is closed (auto_da_alloc), and an empty one of this name may be left from the last time.
                unsynced = disk.mount / f"unsynced-{time}"
                unsynced.write_bytes(b"gone with the power")
                disk.cut_power()
            made.host.kill()
            disk.come_back()
            assert not unsynced.exists() or not unsynced.read_bytes(), "the power was not cut"
            made.check_disk()
        made.start()
        rows = made.rows()
        missing = [uid for uid in made.acknowledged.instances if uid not in rows]
        made.figures["acknowledged, not in the ledger"] = len(missing)
        assert not [uid for uid in missing if not delivered(made, uid)]
        made.send_the_rest()
        made.wait_delivered()
        made.check()
        made.host.stop()


def delivered(made: Route, uid: str) -> bool:
    """Say whether the result of an instance's patient was delivered."""
    images = made.acknowledged.patients()[made.acknowledged.instances[uid].patient]
    return len(images) == IMAGES and str(result_uid(images)) in made.delivered()
