"""The pipeline that host.toml declares."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from dicomnode import NumpyGrinder, errors

NAME = "smooth-head"
CONFIGURATION = tomllib.loads((Path(__file__).parents[1] / "host.toml").read_text(encoding="utf-8"))
TABLE = CONFIGURATION["pipelines"][NAME]
DECLARED = {key: TABLE[key] for key in ("process", "inputs", "blueprint")}
HEAD = {"BodyPartExamined": "HEAD", "SeriesDescription": "CT head thin"}


@pytest.fixture
def run(run_pipeline):
    """Return a function that runs the declared pipeline."""
    return lambda images: run_pipeline(NAME, images, declared=DECLARED, settings=TABLE["settings"])


def test_the_result(synthetic_series, run):
    """It is smoother than its source, and says what the blueprint declares."""
    images = synthetic_series("CT", **HEAD, ImageComments="kept")
    result = run(images)
    assert len(result) == len(images)
    assert {image.SeriesDescription for image in result} == {"Smoothed head"}
    assert {image.SeriesNumber for image in result} == {900}
    assert {image.ImageComments for image in result} == {"kept"}
    assert result.warnings == ()
    source, smoothed = (np.asarray(NumpyGrinder()(each)) for each in (images, result))
    assert np.abs(np.diff(smoothed)).max() < np.abs(np.diff(source)).max() / 3


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({**HEAD, "BodyPartExamined": "CHEST"}, "BodyPartExamined is CHEST, not HEAD or NECK"),
        ({**HEAD, "SeriesDescription": "CT head 5 mm"}, "SeriesDescription"),
    ],
)
def test_other_images_do_not_belong(synthetic_series, run, attributes, told):
    """The rules of the table are told to the sender."""
    with pytest.raises(errors.ImageRefusedError, match=told):
        run(synthetic_series("CT", **attributes))


def test_a_gap(synthetic_series, run):
    """A volume with a slice missing is not complete."""
    images = synthetic_series("CT", **HEAD)
    with pytest.raises(errors.InputsIncompleteError):
        run(images[:2] + images[3:])


def test_over_the_network(synthetic_series, start_host):
    """The table as it stands in the file, on a running host; only its destination is another."""
    host = start_host({NAME: {**TABLE, "destinations": ["PACS"]}})
    assert set(host.send(synthetic_series("CT", **HEAD))) == {0}
    host.wait_for_jobs()
    assert {image.SeriesDescription for image in host.peer.received} == {"Smoothed head"}
