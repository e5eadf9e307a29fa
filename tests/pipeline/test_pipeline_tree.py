"""The tree of a pipeline's containers, as a researcher uses it in a notebook."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset

from dicomnode import (
    AbstractInput,
    AbstractPipeline,
    HistoricAbstractInput,
    InputContainer,
    NoOutput,
    Not,
    PipelineOutput,
    PipelineTree,
)
from dicomnode.errors import ConfigurationError, DuplicateImageError, ImageRefusedError
from dicomnode.pipeline.pipeline_tree import AdmissionRules, NoContainerKeyError
from dicomnode.testing import synthetic_series


class CT(AbstractInput):
    """Any CT but a localizer."""

    required_values = {"Modality": "CT", "ImageType": Not("LOCALIZER")}


class PT(AbstractInput):
    """Any PET."""

    required_values = {"Modality": "PT"}


class Earlier(HistoricAbstractInput):
    """Earlier CT."""

    required_values = {"Modality": "CT"}


class Base(AbstractPipeline):
    """Does nothing."""

    def process(self, inputs: InputContainer) -> PipelineOutput:
        """Make nothing."""
        return NoOutput()


class OneSeries(Base):
    """One input that takes one series."""

    inputs = {"ct": CT}


class Asking(Base):
    """One whose peer is asked how many images there are."""

    inputs = {"ct": type("Asked", (CT,), {"expected_images": "peer"})}


class TwoInputs(Base):
    """Two inputs of one study."""

    inputs = {"ct": CT, "pt": PT}


def images(modality: str = "CT", count: int = 3, *, series: int = 1, **values: str) -> list[Dataset]:
    """Return a series of images."""
    made = list(synthetic_series(modality, (count, 4, 4), PatientID=values.pop("PatientID", "4711")))
    for position, image in enumerate(made):
        image.StudyInstanceUID = "1.2"
        image.SeriesInstanceUID, image.SOPInstanceUID = f"1.2.{series}", f"1.2.{series}.{position}"
        for keyword, value in values.items():
            setattr(image, keyword, value)
    return made


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        ({"ct": CT}, "series"),
        ({"ct": type("Several", (CT,), {"several_series": True})}, "study"),
        ({"ct": CT, "pt": PT}, "study"),
        ({"ct": type("Studies", (CT,), {"several_studies": True})}, "patient"),
        ({"ct": CT, "earlier": Earlier}, "patient"),
    ],
)
def test_what_one_job_is_follows_from_the_inputs(inputs: dict[str, type[AbstractInput]], name: str) -> None:
    """One series, inputs of one study, or a patient; the class or the caller may say otherwise."""
    kind = type("Pipeline", (Base,), {"inputs": inputs})
    assert kind.grouping().name == name
    assert type("Own", (kind,), {"gather_by": "AccessionNumber"}).grouping().name == "AccessionNumber"
    assert kind.grouping("patient").name == "patient"


def test_two_series_are_two_containers() -> None:
    """A pipeline of one series has a container for each series, with counts and what is missing."""
    tree = PipelineTree(OneSeries())
    assert tree.add_images([*images(), *images(series=2, count=2)]) == 5
    assert tree.counts() == {"4711/1.2/1.2.1": {"ct": 3}, "4711/1.2/1.2.2": {"ct": 2}}
    assert [tree.missing(key) for key in tree.containers] == [None, None]
    assert len(list(tree)) == len(tree) == 5


def test_what_a_study_is_missing() -> None:
    """The inputs of one study are one container, which says in words what is missing."""
    tree = PipelineTree(TwoInputs())
    tree.add_images(images())
    (key,) = tree.containers
    assert (key, tree.missing(key)) == ("4711/1.2", "pt: no image yet")
    tree.add_images(images("PT", series=2))
    assert tree.missing(key) is None
    assert tree.missing("nobody") == "no image"


def test_what_would_be_missing() -> None:
    """If images came: those that are there count, each once, and nothing changes."""
    tree = PipelineTree(TwoInputs())
    ct, pt = images(), images("PT", series=2)
    tree.add_images(ct)
    (key,) = tree.containers
    for there in (key, "nobody"):
        found = tree.completeness_with(there, [*((each, ("pt", "gone")) for each in pt), (ct[0], ("ct",))])
        assert not found.missing
        assert {name: len(held) for name, held in found.inputs.items()} == {
            "ct": len(ct) if there == key else 1,
            "pt": len(pt),
        }
    assert tree.missing(key) == "pt: no image yet"
    assert list(tree.containers) == [key]


def test_what_would_be_missing_by_the_word_of_a_peer() -> None:
    """What a peer has said of the series that are there holds."""
    tree = PipelineTree(Asking())
    first, *others = images()
    tree.add_image(first)
    (key,) = tree.containers
    tree.containers[key].inputs["ct"].peer_counts = {str(first.SeriesInstanceUID): len(others) + 1}
    assert "the peer" not in str(tree.completeness_with(key, []))
    assert not tree.completeness_with(key, [(each, ("ct",)) for each in others]).missing


def test_a_folder(tmp_path: Path) -> None:
    """A folder is added by its path; what no input takes is left out, with the reason from discover."""
    for number, image in enumerate([*images(), *images("MR", series=2)]):
        image.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    tree = PipelineTree(OneSeries())
    assert tree.add_images(tmp_path) == 3
    again = PipelineTree(OneSeries()).discover(tmp_path)
    assert (again.added, len(again.skipped)) == (3, 3)


def test_save(tmp_path: Path) -> None:
    """It is saved as any tree of images."""
    tree = PipelineTree(OneSeries())
    tree.add_images(images())
    assert len(tree.save(tmp_path)) == 3


def test_images_that_go() -> None:
    """An image that is removed is in no input; a container goes with its last one."""
    tree = PipelineTree(OneSeries())
    tree.add_images(images(count=2))
    tree.remove("1.2.1.0")
    assert tree.counts() == {"4711/1.2/1.2.1": {"ct": 1}}
    tree.remove("1.2.1.1")
    assert (tree.counts(), len(tree)) == ({}, 0)


def test_refused_and_twice() -> None:
    """What no input takes is refused with the reasons; an instance is held once."""
    tree = PipelineTree(TwoInputs())
    (image,) = images(count=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    with pytest.raises(ImageRefusedError, match=r"ct: ImageType is LOCALIZER.*; pt: Modality is CT, not PT"):
        tree.add_image(image)
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    tree.add_image(image)
    with pytest.raises(DuplicateImageError):
        tree.add_image(image)


def test_an_image_without_a_key() -> None:
    """An image that lacks what it gathers by is refused by the attribute's name."""
    (image,) = images(count=1, PatientID="")
    with pytest.raises(NoContainerKeyError, match=r"PatientID .0010,0020. is missing or empty"):
        PipelineTree(OneSeries()).add_image(image)


def test_the_key_of_an_author() -> None:
    """A pipeline that overrides container_key gathers by what that returns."""
    kind = type("Own", (OneSeries,), {"container_key": lambda self, image: f"room {image.Rows}"})
    tree = PipelineTree(kind())
    tree.add_images(images())
    assert list(tree.containers) == ["room 4"]


def test_the_same_answer_in_any_order() -> None:
    """Admission depends on the image: asked before and after others came, the answer is the same."""
    first, second = images(count=1), images(count=1, series=2)
    tree = PipelineTree(TwoInputs())
    before = [tree.rules.admission(image) for image in (*first, *second)]
    tree.add_images(first)
    assert [tree.rules.admission(image) for image in (*first, *second)] == before


def test_earlier_images_go_to_the_input_that_fetched_them() -> None:
    """What the host has asked for is for inputs that fetch alone; what it has not, for the others alone."""
    kind = type("FollowUp", (Base,), {"inputs": {"ct": CT, "earlier": Earlier}})
    rules, (image,) = AdmissionRules(kind()), images(count=1)
    assert rules.admission(image).inputs == ("ct",)
    asked = rules.admission(image, fetched_for="4711")
    assert (asked.inputs, asked.container_key, asked.fetched) == (("earlier",), "4711", True)


def test_a_series_that_was_chosen() -> None:
    """The series that somebody chose counts in every input of the container that holds it."""
    tree = PipelineTree(TwoInputs())
    tree.add_images([*images(), *images(series=2, count=2), *images("PT", series=3)])
    (key,) = tree.containers
    assert "2 series fit" in str(tree.missing(key))
    assert tree.choose_series(key, "1.2.9") == ()
    assert tree.choose_series(key, "1.2.2") == ("ct",)
    assert tree.missing(key) is None
    assert len(tree.completeness(key).inputs["ct"]) == 2


def test_a_part_of_a_tree() -> None:
    """Filtered, it holds the containers of the wanted images alone; the tree itself is as before."""
    tree = PipelineTree(TwoInputs())
    ct, other = images(), images(count=1, series=2, PatientID="4712")
    tree.add_images([other[0], *ct, *images("PT", series=3)])
    kept = tree.filter(lambda image: image.Modality == "CT" and image.PatientID == "4711")
    assert (list(kept), kept.counts()) == (ct, {"4711/1.2": {"ct": 3, "pt": 0}})
    assert kept.container_of("1.2.1.0") == "4711/1.2"
    kept.remove("1.2.1.0")
    assert (kept.container_of("1.2.1.0"), kept.container_of("1.2.2.0")) == (None, None)
    assert tree.counts() == {"4712/1.2": {"ct": 1, "pt": 0}, "4711/1.2": {"ct": 3, "pt": 3}}
    assert len(tree) == 7


def test_a_choice_stays_with_a_part() -> None:
    """A series that was chosen is chosen in what was filtered, and choices there change nothing here."""
    tree = PipelineTree(TwoInputs())
    tree.add_images([*images(), *images(series=2), *images("PT", series=3)])
    (key,) = tree.containers
    tree.choose_series(key, "1.2.2")
    kept = tree.filter(lambda image: True)
    assert kept.missing(key) is None
    kept.choose_series(key, "1.2.1")
    assert [image.SeriesInstanceUID for image in tree.completeness(key).inputs["ct"]] == ["1.2.2"] * 3


def test_what_is_printed() -> None:
    """A line for each container and input, with what is missing."""
    tree = PipelineTree(TwoInputs())
    tree.add_images([*images(), *images("PT", count=1, series=2, PatientID="4712")])
    assert str(tree).splitlines() == [
        "PipelineTree: 4 images",
        "├── 4711/1.2: 3 images",
        "│   ├── ct: 3 images",
        "│   └── pt: 0 images (no image yet)",
        "└── 4712/1.2: 1 image",
        "    ├── ct: 0 images (no image yet)",
        "    └── pt: 1 image",
    ]


def test_the_class_of_a_pipeline_is_none() -> None:
    """A class in the place of an object is told, and so is a pipeline that is not defined as it must be."""
    with pytest.raises(TypeError, match=r"takes an object of the pipeline, not its class: OneSeries\(\)"):
        PipelineTree(OneSeries)  # type: ignore[arg-type]  # the mistake that is told
    with pytest.raises(ConfigurationError, match="names no inputs"):
        PipelineTree(type("Nothing", (OneSeries,), {"inputs": {}})())
