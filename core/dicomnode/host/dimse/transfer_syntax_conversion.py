"""A file's data set in another uncompressed transfer syntax, for peers that take nothing else."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import correct_ambiguous_vr, write_dataset

from dicomnode.dicom.values.encodings import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from dicomnode.errors import DicomnodeError, StructureError


def convert_file(path: Path, transfer_syntax_uid: str) -> tuple[int, int, int]:
    """Decode a file's data set and encode it anew, in memory.

    Parameters
    ----------
    path : Path
        A PS3.10 file, uncompressed and little endian (deflated will do).
    transfer_syntax_uid : str
        Implicit or explicit VR little endian.

    Returns
    -------
    descriptor : int
        Of an anonymous file that holds the data set; to be closed.
    begin, end : int
        Where it lies.

    Raises
    ------
    StructureError
        If it cannot be decoded or encoded.
    OSError
        If the file cannot be read.
    """
    if transfer_syntax_uid not in {IMPLICIT_LITTLE, EXPLICIT_LITTLE}:
        raise StructureError(f"no conversion to {transfer_syntax_uid} is known")
    try:
        dataset = pydicom.dcmread(path)
        correct_ambiguous_vr(dataset, is_little_endian=True)
        encoded = BytesIO()
        buffer = DicomFileLike(encoded)
        buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT_LITTLE
        buffer.is_little_endian = True
        write_dataset(buffer, dataset)
        data = encoded.getvalue()
    except (OSError, DicomnodeError):
        raise
    except Exception as error:  # of whatever kind: pydicom meets a value that it cannot encode
        raise StructureError(f"it cannot be converted: {type(error).__name__}") from None
    descriptor = os.memfd_create("converted", os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, 0, len(data)
