"""The rules, each on a pipeline that does almost nothing, and together on a running host."""

from __future__ import annotations

import dicomnode_example_site_rules as rules
import numpy as np
import pytest

from dicomnode import (
    AbstractInput,
    AbstractPipeline,
    DicomOutput,
    FileOutput,
    NumpyFactory,
    NumpyGrinder,
    errors,
)


class CT(AbstractInput):
    """One CT series."""

    image_grinder = NumpyGrinder()


class Double(AbstractPipeline):
    """Gives twice the CT, and a file."""

    inputs = {"ct": CT}

    def process(self, inputs):
        """Double it."""
        doubled = np.asarray(inputs["ct"]) * 2
        return [DicomOutput(NumpyFactory().build_series(inputs.header, doubled)), FileOutput({"a.txt": "a"})]


@pytest.fixture
def site(monkeypatch):
    """Set the environment that the rules read."""
    monkeypatch.setenv("SITE_INSTITUTION", "Example Hospital")
    monkeypatch.delenv("SITE_COPY_TO", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizers"),
        ({"BurnedInAnnotation": "YES"}, "burned-in"),
    ],
)
def test_images_are_refused(synthetic_series, run_pipeline, attributes, told):
    """The rule's reason is what the sender is told."""
    with pytest.raises(errors.ImageRefusedError, match=told):
        run_pipeline(Double, synthetic_series("CT", **attributes), hooks=[rules])


def test_results_name_the_institution(site, synthetic_series, run_pipeline):
    """It is written over what was copied from the source; without the variable the source's stays."""
    images = synthetic_series("CT", InstitutionName="Scanner's")
    result = run_pipeline(Double, images, hooks=[rules])
    assert {image.InstitutionName for image in result} == {"Example Hospital"}
    assert {image.InstitutionalDepartmentName for image in result} == {"Image processing"}
    site.delenv("SITE_INSTITUTION")
    assert "Example Hospital" not in {
        image.get("InstitutionName") for image in run_pipeline(Double, images, hooks=[rules])
    }


def test_a_copy_of_dicom_only(site, synthetic_series, run_pipeline):
    """Each instance is delivered twice, a file once."""
    site.setenv("SITE_COPY_TO", "ARCHIVE")
    output = DicomOutput(synthetic_series("CT"))
    (copy,) = rules.dicomnode_output(output=output)
    assert copy.destinations == ("ARCHIVE",)
    assert list(copy.datasets) == list(output.datasets)
    assert rules.dicomnode_output(output=FileOutput({"a.txt": "a"})) is None
    site.delenv("SITE_COPY_TO")
    assert rules.dicomnode_output(output=output) is None


def test_over_the_network(site, synthetic_series, receiving_peer, start_host):
    """With another author's pipeline: refused, stamped, delivered to the PACS and to the archive."""
    site.setenv("SITE_COPY_TO", "ARCHIVE")
    archive = {"ae_title": receiving_peer.ae_title, "address": receiving_peer.address}
    host = start_host({"smooth": {}}, {"peers": {"ARCHIVE": archive}})
    localizer = synthetic_series("CT", series=2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert set(host.send(localizer)).isdisjoint({0})
    assert set(host.send(synthetic_series("CT"))) == {0}
    host.wait_for_jobs()
    assert {image.InstitutionName for image in host.peer.received} == {"Example Hospital"}
    copies = receiving_peer.wait_for(len(host.peer.received))
    assert {image.SOPInstanceUID for image in copies} == {
        image.SOPInstanceUID for image in host.peer.received
    }
