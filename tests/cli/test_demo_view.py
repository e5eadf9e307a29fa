"""What the demonstration shows at its end: tags side by side, and a picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import png
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from rich.console import Console

from dicomnode.cli.demo_view import tag_table, write_picture
from sources import ct_slices


def derived_slices() -> list[Dataset]:
    """Return the CT slices as a pipeline might return them: another series, other pixels."""
    images = ct_slices()
    for number, image in enumerate(images):
        image.SeriesInstanceUID, image.SOPInstanceUID = "1.2.3", f"1.2.3.{number}"
        image.DerivationDescription = "smoothed"
        image.PixelData = np.full_like(image.pixel_array, 0).tobytes()
    return images


def rows_of(sources: list[Dataset], derived: list[Dataset]) -> dict[str, tuple[str, str, str]]:
    """Return tag -> source, result and style of the table."""
    table = tag_table(sources, derived)
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    styles = [str(row.style) for row in table.rows]
    return {tag: (before, after, style) for tag, before, after, style in zip(*columns, styles, strict=True)}


def grey_values(path: Path) -> NDArray[np.uint8]:
    """Return the pixels of a PNG of one channel."""
    width, height, rows, information = png.Reader(bytes=path.read_bytes()).read()
    assert (information["greyscale"], information["bitdepth"]) == (True, 8)
    return np.vstack([np.frombuffer(bytes(row), np.uint8) for row in rows]).reshape(height, width)


def test_what_is_the_same_is_dim() -> None:
    """What differs stands out, and what is only in one of them."""
    rows = rows_of(ct_slices(), derived_slices())
    patient = str(ct_slices()[0].PatientID)
    assert rows["PatientID"] == (patient, patient, "dim")
    before, after, style = rows["SeriesInstanceUID"]
    assert (before, after, style) == (str(ct_slices()[0].SeriesInstanceUID), "1.2.3", "")
    assert rows["DerivationDescription"] == ("", "smoothed", "")


def test_a_tag_that_neither_has_is_left_out() -> None:
    """The table has only what there is to compare."""
    sources, derived = ct_slices(), derived_slices()
    for image in (*sources, *derived):
        if "SeriesDescription" in image:
            del image.SeriesDescription
    assert "SeriesDescription" not in rows_of(sources, derived)


def test_the_slices_in_the_middle_are_compared() -> None:
    """By their place in space, whatever order they come in."""
    sources = ct_slices()
    middle = sorted(sources, key=lambda image: image.ImagePositionPatient[2])[len(sources) // 2]
    for images in (sources, sources[::-1], sources[2:] + sources[:2]):
        before, _, _ = rows_of(images, derived_slices())["SOPInstanceUID"]
        assert before == str(middle.SOPInstanceUID)


def test_control_characters_are_shown_as_what_they_are() -> None:
    """What came from the network cannot write to the terminal."""
    sources = ct_slices()
    for image in sources:
        image.PatientID = "\x1b[31mevil"
    before, _, _ = rows_of(sources, derived_slices())["PatientID"]
    assert before == r"\x1b[31mevil"


@pytest.mark.parametrize("text", ["CT [bold]smoothed", "CT [/b] smoothed"])
def test_brackets_are_shown_as_they_are(text: str) -> None:
    """A description is no markup: nothing of it is left out, and it is no error."""
    derived = derived_slices()
    for image in derived:
        image.SeriesDescription = text
    out = io.StringIO()
    Console(file=out, width=250).print(tag_table(ct_slices(), derived))
    assert text in out.getvalue()


def test_the_picture_has_source_and_result_side_by_side(tmp_path: Path) -> None:
    """Left the source in its window of grey, a white gap, right the result in the same window."""
    sources = ct_slices()
    path = tmp_path / "picture.png"
    assert write_picture(sources, derived_slices(), path) == path
    picture = grey_values(path)
    larger = 256 // sources[0].Rows
    width = sources[0].Columns * larger
    assert picture.shape == (sources[0].Rows * larger, 2 * width + 4)
    left, gap, right = picture[:, :width], picture[:, width : width + 4], picture[:, width + 4 :]
    assert (left.min(), left.max()) == (0, 255)
    assert set(gap.flat) == {255}
    assert len(set(right.flat)) == 1


def test_the_same_slice_looks_the_same(tmp_path: Path) -> None:
    """One window of grey for both."""
    path = tmp_path / "picture.png"
    write_picture(ct_slices(), ct_slices(), path)
    picture = grey_values(path)
    width = (picture.shape[1] - 4) // 2
    np.testing.assert_array_equal(picture[:, :width], picture[:, width + 4 :])


def test_a_result_of_another_size_fits(tmp_path: Path) -> None:
    """The picture is as high as the higher of the two; what is left over stays white."""
    derived = derived_slices()
    for image in derived:
        half = np.zeros((image.Rows // 2, image.Columns), image.pixel_array.dtype)
        image.Rows //= 2
        image.PixelData = half.tobytes()
    path = tmp_path / "picture.png"
    write_picture(ct_slices(), derived, path)
    picture = grey_values(path)
    width = (picture.shape[1] - 4) // 2
    assert picture.shape[0] == ct_slices()[0].Rows * (256 // ct_slices()[0].Rows)
    assert set(picture[picture.shape[0] // 2 :, width + 4 :].flat) == {255}


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_image_of_one_value_is_shown(tmp_path: Path) -> None:
    """A window of no width is no error: the source is black."""
    sources = ct_slices()
    for image in sources:
        image.PixelData = np.full_like(image.pixel_array, 7).tobytes()
    path = tmp_path / "picture.png"
    write_picture(sources, sources, path)
    assert set(grey_values(path)[:, : sources[0].Columns].flat) == {0}


def without_pixels(image: Dataset) -> None:
    """Take the pixels away."""
    del image.PixelData


def in_colour(image: Dataset) -> None:
    """Make the image one of red, green and blue."""
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image.PixelData = np.zeros((image.Rows, image.Columns, 3), np.uint16).tobytes()


@pytest.mark.parametrize("change", [without_pixels, in_colour])
def test_what_cannot_be_shown_in_grey_has_no_picture(
    tmp_path: Path, change: Callable[[Dataset], None]
) -> None:
    """No file is written, and nothing is raised."""
    derived = derived_slices()
    for image in derived:
        change(image)
    path = tmp_path / "picture.png"
    assert write_picture(ct_slices(), derived, path) is None
    assert not path.exists()
