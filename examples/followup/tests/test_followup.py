"""Measuring, choosing, and the whole way: a host that fetches the earlier CT from a real Orthanc."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from io import BytesIO

import numpy as np
import pytest
from dicomnode_example_followup import EarlierCT, bone_volume
from pydicom.dataset import Dataset

from dicomnode import NumpyGrinder


def phantom(voxels):
    """Return a CT of air with so many voxels of bone."""
    array = np.full((4, 16, 16), -1000.0)
    array.ravel()[:voxels] = 700
    return array


def test_the_volume(synthetic_series):
    """300 voxels of 3 x 1.5 x 1 mm are 1.35 cm3."""
    volume = NumpyGrinder()(synthetic_series("CT", array=phantom(300), spacing=(3.0, 1.5, 1.0)))
    assert bone_volume(volume, 300) == pytest.approx(1.35)
    assert bone_volume(volume, 800) == 0


def test_what_is_chosen(synthetic_series):
    """Of the last study before the new one, the largest series; the new one and later ones are left out."""

    def answer(study, date, series, instances):
        made = Dataset()
        made.StudyInstanceUID, made.StudyDate = study, date
        made.SeriesInstanceUID, made.NumberOfSeriesRelatedInstances = series, instances
        return made

    new = synthetic_series("CT")[0]
    found = [
        answer("1.1", "20200101", "1.1.1", 100),
        answer("1.2", "20250101", "1.2.1", 3),
        answer("1.2", "20250101", "1.2.2", 80),
        answer("1.3", "20260301", "1.3.1", 200),
        answer(new.StudyInstanceUID, new.StudyDate, new.SeriesInstanceUID, 4),
    ]
    assert [each.SeriesInstanceUID for each in EarlierCT().choose(found, new)] == ["1.2.2"]
    assert list(EarlierCT().choose(found[3:], new)) == []


class Orthanc:
    """A PACS on free ports of this machine."""

    def __init__(self, folder):
        binary = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin")
        if binary is None:
            required = os.environ.get("DICOMNODE_REQUIRE_PEERS") == "1"
            (pytest.fail if required else pytest.skip)("Orthanc is not installed: apt-get install orthanc")
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0)), other.bind(("127.0.0.1", 0))
            self.port, self.http = one.getsockname()[1], other.getsockname()[1]
        folder.mkdir()
        configuration = {
            "StorageDirectory": str(folder), "IndexDirectory": str(folder), "Plugins": [],
            "HttpPort": self.http, "DicomPort": self.port, "AuthenticationEnabled": False,
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self.process = subprocess.Popen([binary, folder / "orthanc.json"], stderr=subprocess.DEVNULL)

    def ask(self, path, data=None, method=None):
        """Ask its REST interface."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    def store(self, images):
        """Put images into it."""
        for image in images:
            buffer = BytesIO()
            image.save_as(buffer, enforce_file_format=True)
            self.ask("/instances", buffer.getvalue())


@pytest.fixture
def orthanc(tmp_path):
    """Yield a running Orthanc."""
    pacs = Orthanc(tmp_path / "orthanc")
    try:
        for _ in range(200):
            try:
                pacs.ask("/system")
                break
            except OSError:
                assert pacs.process.poll() is None, "Orthanc has ended"
                time.sleep(0.1)
        yield pacs
    finally:
        pacs.process.terminate()
        pacs.process.wait(30)


def volumes_in(report):
    """Return the measured volumes of a report, by the name of what they are of."""
    found = {}

    def walk(item, name):
        for each in item.get("ContentSequence", ()):
            concept = each.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in each else ""
            if concept == "Tracking Identifier":
                name = each.TextValue
            if concept == "Volume":
                found[name] = float(each.MeasuredValueSequence[0].NumericValue)
            walk(each, name)

    walk(report, None)
    return found


def test_over_the_network(orthanc, synthetic_series, start_host):
    """The new CT is sent, the earlier one is fetched from Orthanc, and the report tells both volumes."""
    now = synthetic_series("CT", array=phantom(400), study=2, StudyDate="20260102")
    orthanc.store(synthetic_series("CT", array=phantom(250), study=1, StudyDate="20250607"))
    orthanc.store(synthetic_series("CT", array=phantom(999), study=3, StudyDate="20260708"))
    orthanc.store(synthetic_series("CT", array=phantom(999), study=1, patient="SOMEBODY-ELSE"))
    archive = {"ae_title": "ORTHANC", "address": f"127.0.0.1:{orthanc.port}"}
    host = start_host({"followup": {"history": "ARCHIVE"}}, {"peers": {"ARCHIVE": archive}})
    knows = {"AET": "FOLLOWUP", "Host": "127.0.0.1", "Port": host.host.address[1]}
    asks = {"AET": "DICOMNODE", "Host": "127.0.0.1", "Port": host.host.address[1]}
    orthanc.ask("/modalities/followup", json.dumps(knows).encode(), "PUT")
    orthanc.ask("/modalities/host", json.dumps(asks).encode(), "PUT")
    assert set(host.send(now)) == {0}
    host.wait_for_jobs()
    (report,) = host.peer.received
    assert report.StudyInstanceUID == now[0].StudyInstanceUID
    assert volumes_in(report) == pytest.approx({"Now": 1.2, "Earlier, 20250607": 0.75})


def test_a_patient_that_is_new(orthanc, synthetic_series, start_host):
    """Where the PACS has nothing earlier, the report tells the new volume only."""
    archive = {"ae_title": "ORTHANC", "address": f"127.0.0.1:{orthanc.port}"}
    host = start_host({"followup": {"history": "ARCHIVE"}}, {"peers": {"ARCHIVE": archive}})
    asks = {"AET": "DICOMNODE", "Host": "127.0.0.1", "Port": host.host.address[1]}
    orthanc.ask("/modalities/host", json.dumps(asks).encode(), "PUT")
    assert set(host.send(synthetic_series("CT", array=phantom(400)))) == {0}
    host.wait_for_jobs()
    (report,) = host.peer.received
    assert volumes_in(report) == pytest.approx({"Now": 1.2})
