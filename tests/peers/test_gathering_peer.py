"""A peer that knows how many images a series has, asked by the host: an Orthanc that sends in two parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gathering_site import Site, wait_for
from orthanc_peer import orthanc

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]

TABLES = """
[pipelines.counted]
ae_title = "COUNTED"
settle = "600 s"
destinations = ["file:{{results}}"]
[peers.ORTHANC]
ae_title = "ORTHANC"
address = "127.0.0.1:{port}"
"""


def test_a_series_is_whole_when_its_sender_says_so(tmp_path: Path) -> None:
    """The job starts with the last image, long before the settling time is over, and `trace` says why."""
    with orthanc(tmp_path / "orthanc") as archive:
        site = Site(tmp_path, TABLES.format(port=archive.port))
        series = site.series(6)
        archive.store(*series.images)
        with site.host:
            place = {"Host": "127.0.0.1", "Port": site.host.port}
            for name, title in (("counted", "COUNTED"), ("host", "DICOMNODE")):  # it is asked by the other
                archive.ask(f"/modalities/{name}", json.dumps({"AET": title, **place}).encode(), "PUT")
            found = {
                each["MainDicomTags"]["SOPInstanceUID"]: each["ID"]
                for each in archive.ask("/instances?expand")
            }
            numbers = [found[str(image.SOPInstanceUID)] for image in series.images]
            archive.ask("/modalities/counted/store", json.dumps(numbers[:4]).encode())
            wait_for(
                lambda: [each["missing"] for each in site.waiting(series)] == ["images: 4 of 6 images"],
                lambda: f"{site.waiting(series)}\n{site.host.text()}",
            )
            site.pass_settle()
            assert site.jobs(series) == []
            archive.ask("/modalities/counted/store", json.dumps(numbers[4:]).encode())
            site.wait_delivered(series)
            assert "6 of 6 images (the peer)" in site.command("trace", str(series.images[0].SOPInstanceUID))
