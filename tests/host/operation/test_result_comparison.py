"""Two results of one job compared: tags, voxels and other files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from dicomnode.host.jobs.job_folder import Manifest
from dicomnode.host.operation.result_comparison import Comparison, Side, compare_results
from dicomnode.pipeline.destination import OutboxItem
from sources import mr_slices


def side(folder: Path, change: Callable[[list[Dataset]], None], version: str = "1.0") -> Side:
    """Return a result: four MR slices after a change, and a file."""
    folder.mkdir()
    images = mr_slices()
    change(images)
    items = []
    for number, image in enumerate(images):
        path = folder / f"{number}.dcm"
        pydicom.dcmwrite(path, image)
        items.append(OutboxItem("dicom", path, str(image.SOPInstanceUID), str(image.SOPClassUID)))
    (folder / "report.txt").write_text(version)
    items.append(OutboxItem("file", folder / "report.txt", file_name="report.txt"))
    return Side(Manifest("1", "x", tuple(items), (), {}), version)


def nothing(images: list[Dataset]) -> None:
    """Change nothing."""


def test_what_says_when_and_by_which_version_is_no_difference(tmp_path: Path) -> None:
    """Dates of making and the plugin's own version; another file is compared by its bytes."""

    def marked(version: str, time: str) -> Callable[[list[Dataset]], None]:
        def change(images: list[Dataset]) -> None:
            for image in images:
                image.ContentTime, image.InstanceCreationTime = time, time
                image.DerivationDescription = f"Processed by scaled {version}"
                item = Dataset()
                item.SoftwareVersions, item.ContributionDateTime = version, f"20260101{time}"
                image.ContributingEquipmentSequence = [item]

        return change

    old = side(tmp_path / "old", marked("1.0", "101010"))
    new = side(tmp_path / "new", marked("2.0", "111111"), "2.0")
    found = compare_results(old, new)
    assert (found.tags, found.voxels, found.files) == ({}, [], ["report.txt"])
    assert compare_results(old, side(tmp_path / "again", marked("1.0", "121212"))).equal


def test_rescaled_values_are_compared_and_another_shape_is_told(tmp_path: Path) -> None:
    """Other stored values for the same quantities are tags, no voxels; a smaller image has another shape."""

    def halved(images: list[Dataset]) -> None:
        for image in images:
            image.PixelData = (image.pixel_array * 2).astype(image.pixel_array.dtype).tobytes()
            image.RescaleSlope, image.RescaleIntercept = 0.5, 0
            image.BitsStored, image.HighBit = 16, 15

    def cropped(images: list[Dataset]) -> None:
        image = images[0]
        image.PixelData = np.ascontiguousarray(image.pixel_array[:-2]).tobytes()
        image.Rows -= 2

    old = side(tmp_path / "old", nothing)
    found = compare_results(old, side(tmp_path / "halved", halved))
    assert found.voxels == []
    assert found.tags["RescaleSlope"] == {
        "old": None,
        "new": "0.5",
        "first": str(mr_slices()[0].SOPInstanceUID),
        "instances": len(mr_slices()),
    }
    (told_of,) = compare_results(old, side(tmp_path / "cropped", cropped)).voxels
    assert told_of["shapes"][0][1] - told_of["shapes"][1][1] == 2


def test_what_one_result_lacks_is_told_and_new_uids_are_paired_in_order(tmp_path: Path) -> None:
    """A missing instance by its UID; where every UID is another, the UIDs are the difference."""

    def shorter(images: list[Dataset]) -> None:
        del images[-1]

    def renamed(images: list[Dataset]) -> None:
        for image in images:
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = (
                f"1.2.3.{image.InstanceNumber}"
            )

    old = side(tmp_path / "old", nothing)
    found = compare_results(old, side(tmp_path / "shorter", shorter))
    assert (found.only_old, found.only_new) == ([str(mr_slices()[-1].SOPInstanceUID)], [])
    assert not found.equal
    found = compare_results(old, side(tmp_path / "renamed", renamed))
    assert set(found.tags) == {"SOPInstanceUID", "MediaStorageSOPInstanceUID"}
    assert json.dumps(found.to_json())


def test_equal_results_have_nothing_to_tell(tmp_path: Path) -> None:
    """Every instance, file and voxel is compared, and nothing is different."""
    images = mr_slices()
    found = compare_results(side(tmp_path / "old", nothing), side(tmp_path / "new", nothing))
    assert found.equal
    assert found.to_json() == {
        "equal": True,
        "compared": len(images) + 1,
        "only_old": [],
        "only_new": [],
        "tags": [],
        "voxels": {
            "compared": sum(image.pixel_array.size for image in images),
            "different": 0,
            "largest": None,
            "instances": [],
        },
        "files": [],
    }


def test_the_largest_difference_is_told_with_its_place(tmp_path: Path) -> None:
    """Of each instance how many voxels differ, and where most; of all instances the worst."""

    def brighter(images: list[Dataset]) -> None:
        for image, places in ((images[0], {(1, 2): 3}), (images[1], {(0, 1): 1, (2, 3): 9})):
            array = image.pixel_array.copy()
            for place, by in places.items():
                array[place] += by
            image.PixelData = array.tobytes()

    first, second = (image for image in mr_slices()[:2])
    found = compare_results(side(tmp_path / "old", nothing), side(tmp_path / "new", brighter))
    was = float(second.pixel_array[2, 3]) * float(second.get("RescaleSlope", 1)) + float(
        second.get("RescaleIntercept", 0)
    )
    told = found.to_json()["voxels"]
    assert told["different"] == 3
    assert told["instances"][0]["SOPInstanceUID"] == str(first.SOPInstanceUID)
    assert (told["instances"][0]["row"], told["instances"][0]["column"]) == (1, 2)
    assert told["largest"] == {
        "SOPInstanceUID": str(second.SOPInstanceUID),
        "compared": second.pixel_array.size,
        "different": 2,
        "largest": 9.0,
        "frame": 0,
        "row": 2,
        "column": 3,
        "old": was,
        "new": was + 9,
    }
    assert not found.tags


def test_attributes_of_items_and_bytes_are_told(tmp_path: Path) -> None:
    """A nested attribute by its path, bytes by their digest, long text as far as it is shown."""

    def changed(images: list[Dataset]) -> None:
        item = Dataset()
        item.CodeMeaning = "other"
        images[0].ProcedureCodeSequence = [item]
        images[0].ICCProfile = b"1234"
        images[0].ImageComments = "x" * 300

    tags = compare_results(side(tmp_path / "old", nothing), side(tmp_path / "new", changed)).tags
    assert tags["ProcedureCodeSequence"]["new"] == "1 items"
    assert tags["ProcedureCodeSequence[0].CodeMeaning"]["new"] == "other"
    assert tags["ICCProfile"]["new"] == "4 bytes, sha256 03ac674216f3e15c"
    assert tags["ImageComments"]["new"] == "x" * 200
    assert {each["instances"] for each in tags.values()} == {1}


def test_values_of_frames_are_rescaled_each_by_its_own(tmp_path: Path) -> None:
    """A frame's rescale counts; stored values and slopes that cancel out are no difference of voxels."""

    def one(folder: Path, slope: int) -> Side:
        image = mr_slices()[0]
        for keyword in ("RescaleSlope", "RescaleIntercept"):
            if keyword in image:
                del image[keyword]
        stored = np.stack(
            [np.full((image.Rows, image.Columns), 12 // slope), np.ones((image.Rows, image.Columns))]
        )
        image.NumberOfFrames, image.PixelData = 2, stored.astype(np.uint16).tobytes()
        groups = []
        for each in (slope, 1):
            rescale, group = Dataset(), Dataset()
            rescale.RescaleSlope, rescale.RescaleIntercept = each, 0
            group.PixelValueTransformationSequence = [rescale]
            groups.append(group)
        image.PerFrameFunctionalGroupsSequence = groups
        folder.mkdir()
        pydicom.dcmwrite(folder / "0.dcm", image)
        item = OutboxItem("dicom", folder / "0.dcm", str(image.SOPInstanceUID), str(image.SOPClassUID))
        return Side(Manifest("1", "x", (item,), (), {}), "1.0")

    found = compare_results(one(tmp_path / "old", 1), one(tmp_path / "new", 4))
    assert found.voxels == []
    slope = "PerFrameFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleSlope"
    assert set(found.tags) == {slope}


def test_one_thing_of_any_kind_is_a_difference() -> None:
    """A comparison is equal only while every list of it is empty."""
    assert Comparison(compared=3, voxels_compared=9).equal
    assert not Comparison(only_old=["1.2"]).equal
    assert not Comparison(only_new=["1.2"]).equal
    assert not Comparison(tags={"Rows": {}}).equal
    assert not Comparison(voxels=[{"shapes": [[1], [2]]}]).equal
    assert not Comparison(files=["report.txt"]).equal
