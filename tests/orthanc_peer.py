"""Orthanc as the PACS, with a configuration and an empty archive of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from peer_programs import running, wait_until_listening
from programs import program
from receiving import free_port


@dataclass
class Orthanc:
    """A running Orthanc.

    Attributes
    ----------
    port, http_port : int
        Of DICOM and of its REST interface, on 127.0.0.1.
    """

    port: int
    http_port: int
    process: subprocess.Popen[bytes]
    log: Path
    ae_title: str = "ORTHANC"

    def ask(self, path: str, data: bytes | None = None, method: str | None = None) -> Any:
        """Ask the REST interface; return what its JSON says, ``None`` where it says nothing."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def instances(self) -> list[str]:
        """Return the SOP Instance UIDs of all that it holds, sorted."""
        return sorted(each["MainDicomTags"]["SOPInstanceUID"] for each in self.ask("/instances?expand"))

    def file(self, uid: str) -> bytes:
        """Return an instance as it holds it, as a PS3.10 file."""
        query = json.dumps({"Level": "Instance", "Query": {"SOPInstanceUID": uid}}).encode()
        (number,) = self.ask("/tools/find", query)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/instances/{number}/file") as answer:
            content: bytes = answer.read()
        return content

    def store(self, *datasets: Dataset) -> None:
        """Put instances into the archive."""
        for dataset in datasets:
            buffer = _encoded(dataset)
            self.ask("/instances", buffer)


def _encoded(dataset: Dataset) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@contextmanager
def orthanc(
    directory: Path,
    *,
    modalities: Mapping[str, Mapping[str, Any]] | None = None,
    port: int | None = None,
    **settings: Any,
) -> Iterator[Orthanc]:
    """Run Orthanc.

    Parameters
    ----------
    directory : Path
        Where its archive, configuration and log go. What an earlier one left there is used again.
    modalities : mapping of str to mapping
        Whom it knows, in its own words (AET, Host, Port): to whom it sends, and who may query it.
    port : int, optional
        For DICOM; a free one where it is not given.
    **settings : Any
        Further settings of its configuration file.
    """
    binary = program("Orthanc")
    directory.mkdir(parents=True, exist_ok=True)
    port, http_port = port or free_port(), free_port()
    configuration = {
        "Name": "test",
        "StorageDirectory": str(directory / "archive"),
        "IndexDirectory": str(directory / "archive"),
        "Plugins": [],
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomCheckCalledAet": True,
        "DicomModalities": dict(modalities or {}),
        "SaveJobs": False,
        "StableAge": 1,
        **settings,
    }
    file = directory / "orthanc.json"
    file.write_text(json.dumps(configuration))
    # Asked to stop it takes three seconds; its archive survives a kill.
    with running([binary, file], http_port, directory / "orthanc.log", signal.SIGKILL) as process:
        wait_until_listening(port, process)
        yield Orthanc(port, http_port, process, directory / "orthanc.log")
