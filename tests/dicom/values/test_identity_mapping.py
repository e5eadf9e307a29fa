"""IdentityMapping: the same pseudonym every time, and no way back without the table."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom.values.identity_mapping import IdentityMapping
from dicomnode.errors import InvalidValueError

KEY = b"0123456789abcdef0123456789abcdef"
TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=64).filter(
    lambda text: text.strip(" ")
)


@given(TEXT, TEXT)
def test_the_same_key_gives_the_same_pseudonyms(one: str, other: str) -> None:
    """Two mappings of one key agree, whatever either was asked before."""
    first, second = IdentityMapping(KEY), IdentityMapping(KEY)
    second.patient_id(other)
    assert first.patient_id(one) == second.patient_id(one)
    assert first.uid(one) == second.uid(one)
    assert first.days(one) == second.days(one)
    assert IdentityMapping(KEY[::-1]).patient_id(one) != first.patient_id(one)
    assert (first.patient_id(one) == first.patient_id(other)) == (one.strip(" ") == other.strip(" "))


def test_another_process_gives_the_same_pseudonyms() -> None:
    """Hash randomisation and restarts play no part; these values are the contract and may not change."""
    program = (
        "from dicomnode.dicom.values.identity_mapping import IdentityMapping\n"
        f"m = IdentityMapping({KEY!r})\n"
        "print(m.patient_id('4711'), m.uid('1.2.3'), m.days('4711'))"
    )
    here = IdentityMapping(KEY)
    expected = f"{here.patient_id('4711')} {here.uid('1.2.3')} {here.days('4711')}"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected
    assert expected == "FEIRKC7KAQGYFLDW 2.25.186845172959233931757694031226703887791 -3547"


def test_each_kind_has_a_domain_of_its_own() -> None:
    """One text as two kinds of identifier, or of two issuers, has pseudonyms that differ."""
    mapping = IdentityMapping(KEY)
    kinds = ["PatientID", "AccessionNumber", "StudyID", "PatientName", "UID", "days"]
    made = [mapping.pseudonym(kind, "4711") for kind in kinds]
    made += [mapping.patient_id("4711", "hospital A"), mapping.patient_id("4711", "hospital B")]
    assert len(set(made)) == len(made)
    assert mapping.patient_id("4711") == mapping.pseudonym("PatientID", "4711")
    assert mapping.pseudonym("ab", "c") != mapping.pseudonym("a", "bc")


@given(TEXT)
def test_pseudonyms_fit_their_attributes(text: str) -> None:
    """A pseudonym fits SH, LO and PN; a UID is a valid UID."""
    mapping = IdentityMapping(KEY)
    assert re.fullmatch("[A-Z2-7]{16}", mapping.patient_id(text))
    uid = mapping.uid(text)
    assert uid.is_valid
    assert uid.startswith("2.25.")
    assert len(uid) <= 44
    assert -3650 <= mapping.days(text) <= -1
    assert -30 <= mapping.days(text, at_most=30) <= -1


def test_what_dicom_defines_is_not_remapped() -> None:
    """SOP classes, transfer syntaxes and well-known frames of reference keep their UID; empty stays empty."""
    mapping = IdentityMapping()
    for uid in ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.4.1.1", ""):
        assert mapping.uid(uid) == uid
    assert mapping.patient_id("") == mapping.patient_id("  ") == ""
    assert len(mapping) == 0


def test_padding_does_not_count() -> None:
    """A trailing space or NUL is padding, not another patient."""
    mapping = IdentityMapping(KEY)
    assert mapping.patient_id("4711 ") == mapping.patient_id("4711")
    assert mapping.uid("1.2.3\0") == mapping.uid("1.2.3")
    assert mapping.days("4711 ") == mapping.days("4711")


def test_only_the_saved_table_leads_back(tmp_path: Path) -> None:
    """Saved and loaded, the mapping goes on and reverses; a keyed one does neither remember nor reverse."""
    mapping = IdentityMapping()
    patient, uid = mapping.patient_id("4711"), mapping.uid("1.2.3")
    mapping.save(tmp_path / "table.json")
    loaded = IdentityMapping.load(tmp_path / "table.json")
    assert loaded.original("PatientID", patient) == "4711"
    assert loaded.original("UID", uid) == "1.2.3"
    assert loaded.patient_id("4711") == patient
    assert loaded.patient_id("4712") == mapping.patient_id("4712")
    assert loaded.remembers
    with pytest.raises(KeyError, match="has not made it"):
        loaded.original("AccessionNumber", patient)
    keyed = IdentityMapping(KEY)
    with pytest.raises(KeyError, match="does not remember"):
        keyed.original("PatientID", keyed.patient_id("4711"))


def test_the_table_knows_patients_of_several_issuers(tmp_path: Path) -> None:
    """Which issuer a pseudonym's number is of need not be known to find it."""
    mapping = IdentityMapping(KEY, remember=True)
    here, there = mapping.patient_id("4711", "hospital A"), mapping.patient_id("4711", "hospital B")
    alone = mapping.patient_id("4711")
    mapping.save(tmp_path / "table.json")
    loaded = IdentityMapping.load(tmp_path / "table.json")
    assert len({here, there, alone}) == 3
    assert {loaded.original("PatientID", each) for each in (here, there, alone)} == {"4711"}
    assert loaded.original("IssuerOfPatientID", here) == "hospital A"
    assert loaded.original("IssuerOfPatientID", there) == "hospital B"
    with pytest.raises(KeyError):
        loaded.original("IssuerOfPatientID", alone)


def test_nothing_of_anybody_is_kept_or_shown(tmp_path: Path) -> None:
    """A mapping that does not remember saves its key and no identifier; repr shows neither."""
    keyed = IdentityMapping(KEY)
    keyed.patient_id("SECRET4711")
    keyed.save(tmp_path / "key.json")
    assert "SECRET4711" not in (tmp_path / "key.json").read_text()
    assert IdentityMapping.load(tmp_path / "key.json").patient_id("1") == keyed.patient_id("1")
    remembering = IdentityMapping(KEY, remember=True)
    remembering.patient_id("SECRET4711")
    for mapping in (keyed, remembering):
        assert "SECRET" not in repr(mapping)
        assert "0123" not in repr(mapping)


def test_the_table_is_private_and_whole(tmp_path: Path) -> None:
    """The file is its owner's alone, replaces the one before, and leaves nothing beside it."""
    mapping = IdentityMapping()
    for _ in range(2):
        mapping.patient_id("4711")
        mapping.save(tmp_path / "table.json")
    assert stat.S_IMODE((tmp_path / "table.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "not JSON", json.dumps({"format": "dicomnode-identity-mapping", "version": 9})],
)
def test_a_file_that_is_no_table(tmp_path: Path, content: str) -> None:
    """Anything else than a saved table is an error that names the file."""
    (tmp_path / "odd.json").write_text(content)
    with pytest.raises(InvalidValueError, match=r"odd\.json"):
        IdentityMapping.load(tmp_path / "odd.json")


@pytest.mark.parametrize("key", [b"", "", "short", b"fifteen bytes.."])
def test_a_short_key_is_refused(key: bytes | str) -> None:
    """A key that could be guessed is an error that does not show it."""
    with pytest.raises(InvalidValueError, match="16 are the least") as caught:
        IdentityMapping(key)
    assert not key or str(key) not in str(caught.value)


def test_random_keys_differ() -> None:
    """Without a key every mapping is another."""
    assert IdentityMapping().patient_id("4711") != IdentityMapping().patient_id("4711")


def test_threads_share_a_mapping() -> None:
    """A mapping that remembers can be used from many threads at once."""
    mapping = IdentityMapping()

    def work() -> None:
        for number in range(300):
            mapping.patient_id(str(number))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(mapping) == 300
