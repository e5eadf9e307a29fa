"""Key and table on disk."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest
from dicomnode_anonymize import AnonymizeError
from dicomnode_anonymize.keys import key_from_environment, key_from_file
from dicomnode_anonymize.table_file import mapping_in

from dicomnode import IdentityMapping

KEY = "a key for the tests"


def test_a_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    """The first use makes a random key, the next one finds it; only its owner may read it."""
    path = tmp_path / "folder" / "key"
    key = key_from_file(path)
    assert key_from_file(path) == key != key_from_file(tmp_path / "other")
    assert len(key) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["key"]


def test_processes_that_come_at_once_get_one_key(tmp_path: Path) -> None:
    """Nobody goes on with a key that is not in the file."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(key_from_file, [tmp_path / "key"] * 8))) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The error names the file and what to do, never the key."""
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(mode)
    with pytest.raises(AnonymizeError, match="chmod 600") as caught:
        key_from_file(path)
    assert KEY not in str(caught.value)


def test_keys_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too short, no text, a folder, a variable that is not set: each is told."""
    path = tmp_path / "key"
    path.write_text("short")
    path.chmod(0o600)
    with pytest.raises(AnonymizeError, match="has 5 bytes; 16 are the least"):
        key_from_file(path)
    path.write_bytes(b"\xff" * 32)
    with pytest.raises(AnonymizeError, match="cannot be used"):
        key_from_file(path)
    with pytest.raises(AnonymizeError, match="cannot be used"):
        key_from_file(tmp_path)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(AnonymizeError, match="no variable NO_SUCH_KEY"):
        key_from_environment("NO_SUCH_KEY")
    monkeypatch.setenv("NO_SUCH_KEY", KEY)
    assert key_from_environment("NO_SUCH_KEY") == KEY


def test_a_table_goes_on_where_it_was(tmp_path: Path) -> None:
    """Two blocks share pseudonyms and originals, also when the first one failed."""
    table = tmp_path / "table"
    made = []

    def fail() -> None:
        with mapping_in(table, None) as mapping:
            made.append(mapping.patient_id("4711"))
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        fail()
    (pseudonym,) = made
    with mapping_in(table, None) as mapping:
        assert mapping.patient_id("4711") == pseudonym
        mapping.patient_id("4712")
    loaded = IdentityMapping.load(table)
    assert loaded.original("PatientID", pseudonym) == "4711"
    assert len(loaded) == 2
    assert stat.S_IMODE(table.stat().st_mode) == 0o600


def test_a_table_and_a_key_must_agree(tmp_path: Path) -> None:
    """Another key than the table's, and a file that is no table, are errors; the right key is not."""
    table = tmp_path / "table"
    with mapping_in(table, KEY) as mapping:
        mapping.patient_id("4711")
    with mapping_in(table, KEY) as mapping:
        assert len(mapping) == 1
    with pytest.raises(AnonymizeError, match="another key"), mapping_in(table, KEY[::-1]):
        pass
    table.write_text("{}")
    with pytest.raises(AnonymizeError, match="not a table"), mapping_in(table, KEY):
        pass
    IdentityMapping(KEY).save(table)
    with pytest.raises(AnonymizeError, match="remembers nobody"), mapping_in(table, KEY):
        pass


def test_without_a_table_nobody_is_remembered() -> None:
    """A key alone gives the same pseudonyms and no way back."""
    with mapping_in(None, KEY) as mapping:
        assert mapping.patient_id("4711") == IdentityMapping(KEY).patient_id("4711")
        assert len(mapping) == 0
