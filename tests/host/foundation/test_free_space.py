"""How full a file system is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dicomnode.host.foundation import free_space
from dicomnode.host.foundation.free_space import DiskSpace, FreeSpace, disk_space, jobs_reserve
from file_systems import small_tmpfs

Answers = Callable[..., list[object]]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Let file systems give some answers, one after the other; the paths that were asked about are noted."""

    def give(*free: int | OSError) -> list[object]:
        asked: list[object] = []
        left = iter(free)

        def ask(path: object) -> DiskSpace:
            asked.append(path)
            answer = next(left)
            if isinstance(answer, OSError):
                raise answer
            return DiskSpace(answer, 1000, 0, 0)

        monkeypatch.setattr(free_space, "disk_space", ask)
        return asked

    return give


def test_a_file_system(tmp_path: Path) -> None:
    """What is written is free no longer, and neither is the file that holds it."""
    with small_tmpfs(tmp_path / "disk", "8m", 100) as disk:
        before = disk_space(disk)
        (disk / "file").write_bytes(bytes(2**20))
        after = disk_space(disk)
    assert before.total == after.total == 8 * 2**20
    assert before.free - after.free == 2**20
    assert before.total_files == 100
    assert before.free_files - after.free_files == 1


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    """Who asks for details learns that there are none; who asks for room learns that there is none."""
    with pytest.raises(OSError, match="No such file"):
        disk_space(tmp_path / "gone")
    assert FreeSpace(tmp_path / "gone")() == 0


def test_every_question_is_asked(answers: Answers) -> None:
    """Without an age that an answer may have, each is of the moment."""
    asked = answers(10, 20)
    free = FreeSpace("/data")
    assert [free(), free()] == [10, 20]
    assert asked == ["/data", "/data"]


def test_an_answer_holds_for_a_while(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system is not asked again before its answer is old."""
    now = [100.0]
    monkeypatch.setattr(free_space.time, "monotonic", lambda: now[0])
    asked = answers(10, 20)
    free = FreeSpace("/data", max_age=5.0)
    assert free() == 10
    now[0] = 104.9
    assert free() == 10
    assert len(asked) == 1
    now[0] = 105.0
    assert free() == 20


def test_a_failure_does_not_hold(answers: Answers) -> None:
    """A file system that does not answer has no room, until it answers."""
    answers(OSError("stale file handle"), 10)
    free = FreeSpace("/data", max_age=1000.0)
    assert [free(), free()] == [0, 10]


def test_the_reserve_of_jobs() -> None:
    """Jobs may use half of what is kept free of images."""
    assert jobs_reserve(101) == 50
