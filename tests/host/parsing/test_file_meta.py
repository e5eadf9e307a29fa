"""The file meta information that precedes a data set: written by us, read by us and by pydicom."""

from __future__ import annotations

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.errors import StructureError
from dicomnode.host.parsing.file_meta import FileMeta, decode_prefix, encode_prefix


@given(st.from_regex(r"[12](\.[1-9][0-9]{0,5}){1,8}", fullmatch=True), st.text(max_size=16))
def test_meta_information_is_what_pydicom_reads(uid: str, title: str) -> None:
    """Our file meta header is read back by us and, as a file, by pydicom."""
    meta = FileMeta("1.2", uid, "1.2.840.10008.1.2.1", "FROM", title.strip(" \0"))
    prefix = encode_prefix(meta)
    read, offset = decode_prefix(prefix + b"more")
    assert offset == len(prefix)
    assert read.MediaStorageSOPInstanceUID == uid
    assert read.SourceApplicationEntityTitle == "FROM"
    theirs = pydicom.dcmread(pydicom.filebase.DicomBytesIO(prefix)).file_meta
    assert theirs.MediaStorageSOPInstanceUID == uid
    assert theirs.SourceApplicationEntityTitle == "FROM"


@given(st.binary(max_size=200))
def test_broken_meta_information_is_refused(data: bytes) -> None:
    """Noise after the prefix is read or refused, nothing else."""
    with pytest.raises(StructureError):
        decode_prefix(b"\0" * 128 + b"DICM\x02\0\0\0UL\x04\0\xc8\0\0\0" + data)
