"""What waits for a pipeline: images come, are replaced, taken out, put back; nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.tags import STORED_BYTES
from dicomnode.errors import ImageRefusedError, InputsIncompleteError
from dicomnode.host.configuration.config import PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.dimse.store_handler import Prevalidation
from dicomnode.host.gathering.waiting_images import CheckFailedError, Placement, WaitingImages
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.pipeline_tree import NoContainerKeyError
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry

KEY = "P1"


class CT(AbstractInput):
    """CT images, two at least; it may be told to raise."""

    required_values = {"Modality": "CT"}
    raises: Exception | None = None

    def validate(self) -> str | None:
        if CT.raises is not None:
            raise CT.raises
        return None if len(self) >= 2 else f"{len(self)} of 2 images"


class Counted(AbstractInput):
    """Images whose number a function knows; it may be told to raise when one is put in."""

    required_values = {"Modality": "PT"}
    full: bool = False

    @staticmethod
    def expected_images(images: Sequence[Any]) -> int:
        if any(image.InstanceNumber == 13 for image in images):
            raise ValueError("thirteen")
        return 2

    def _insert(self, image: Any) -> None:
        if Counted.full:
            raise MemoryError("full")
        super()._insert(image)


class Picky(AbstractInput):
    """Images of one series, chosen by code that raises."""

    optional = True
    required_values = {"Modality": "MR"}

    def choose_series(self, candidates: Sequence[Any]) -> None:
        raise LookupError("no idea")


class Pipeline(AbstractPipeline):
    """One that makes nothing."""

    inputs = {"ct": CT, "pet": Counted, "mr": Picky}
    alternatives = (("ct", "pet"),)
    gather_by = "patient"
    index_also = ("InstanceNumber",)

    def process(self, inputs: Any) -> NoOutput:
        return NoOutput()


class Raising(Pipeline):
    """Its own function for the key raises."""

    def container_key(self, image: Any) -> str:
        raise ValueError("Doe^John")


class LastSeries(AbstractInput):
    """Images of one series: the one of the greatest UID."""

    def choose_series(self, candidates: Sequence[Any]) -> str:
        return max(str(each.key) for each in candidates)


class Choosing(Pipeline):
    """One that takes one series, and chooses."""

    inputs = {"ct": LastSeries}
    alternatives = ()


@pytest.fixture(autouse=True)
def _reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CT, "raises", None)
    monkeypatch.setattr(Counted, "full", False)


class Tree(WaitingImages):
    """What waits, on a clock that is set by hand."""

    def __init__(self, kind: type[AbstractPipeline] = Pipeline, **table: Any) -> None:
        registration: Any = SimpleNamespace(name="two", distribution="two", version="1")
        configured = ConfiguredPipeline(
            name="two",
            pipeline=kind(),
            ae_title="TWO",
            destinations=(),
            table=PipelineTable(**table),
            registration=registration,
        )
        self.time = 100.0
        super().__init__(configured, Hooks(Registry(only=())), lambda: self.time)

    def bring(self, *images: LazyDataset) -> None:
        """Put images where they belong."""
        for image in images:
            self.insert(image, self.place(image))


def image(
    uid: str, modality: str = "CT", patient: str = KEY, series: str = "1.3", **values: Any
) -> LazyDataset:
    """Return an image whose index says all that is asked for."""
    index: dict[int, Any] = {
        0x00080018: uid,
        0x00080060: modality,
        0x00100020: patient,
        0x00100020 | STORED_BYTES: patient,
        0x00100021 | STORED_BYTES: "",
        0x0020000D: values.get("study", "1.2"),
        0x0020000E: series,
        0x00200013: values.get("number", 1),
    }
    return LazyDataset(f"/nowhere/{values.get('file', uid)}.dcm", index)


# -- admission ----------------------------------------------------------------------------------------------


def test_where_an_image_belongs() -> None:
    """Into the container of its key, and the inputs whose rules take it; nothing has changed by asking."""
    tree = Tree()
    assert tree.place(image("1.1")) == Placement(KEY, ("ct",))
    assert (tree.keys(), len(tree.known)) == ([], 0)


def test_what_no_input_takes() -> None:
    """It is refused with the words of each input."""
    with pytest.raises(ImageRefusedError, match="ct: Modality is US, not CT; pet: Modality is US, not PT"):
        Tree().place(image("1.1", "US"))


def test_an_image_without_a_key() -> None:
    """What it lacks is said."""
    with pytest.raises(NoContainerKeyError, match="PatientID"):
        Tree().place(image("1.1", patient=""))


def test_a_key_that_raises() -> None:
    """The exception's type is told, not its text: that may name a patient."""
    for ask in (Tree(Raising).place, Tree(Raising).container_key):
        with pytest.raises(CheckFailedError, match=r"^Raising\.container_key raised ValueError$"):
            ask(image("1.1"))


def test_what_a_receiver_process_has_found_out() -> None:
    """It is taken as it is: no rule is asked again."""
    tree = Tree()
    given = Prevalidation("P9", {"ct": None, "pet": "no"})
    assert tree.place(image("1.1", "US"), given) == Placement("P9", ("ct",))
    with pytest.raises(ImageRefusedError, match=r"^pet: no$"):
        tree.place(image("1.1"), Prevalidation("P9", {"pet": "no"}))


@pytest.mark.parametrize(
    ("refused", "dropped"),
    [
        (ImageRefusedError("ct: no"), True),
        (CheckFailedError("it raised"), False),
        (NoContainerKeyError("no PatientID"), False),
    ],
)
def test_what_may_be_discarded(refused: ImageRefusedError, dropped: bool) -> None:
    """Only what was found to be unwanted, and only where the pipeline discards such."""
    assert Tree(on_unwanted="discard").drops(refused) is dropped
    assert Tree().drops(refused) is False


# -- images come --------------------------------------------------------------------------------------------


def test_an_image_that_came() -> None:
    """It waits in its container, is known, and its container is as old as its last image."""
    tree = Tree()
    tree.bring(image("1.1"))
    tree.time += 7
    assert tree.counts() == {KEY: {"ct": 1, "pet": 0, "mr": 0}}
    assert tree.members(KEY) == {"1.1": "1.3"}
    assert (tree.container_of("1.1"), tree.holds("1.1"), tree.known.where("1.1")) == (KEY, True, "waiting")
    assert (tree.quiet_for(KEY), tree.quiet_for("P2")) == (7, None)
    assert (tree.container_of("1.2"), tree.holds("1.2"), tree.members("P2")) == (None, False, {})


def test_an_image_that_cannot_be_entered() -> None:
    """It is not there: whoever entered it failed, and the sender is told so."""
    tree = Tree()
    first = image("1.1")

    def fail() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        tree.insert(first, tree.place(first), fail)
    assert (tree.keys(), tree.holds("1.1"), tree.known.file_of("1.1"), tree.quiet_for(KEY)) == (
        [],
        False,
        None,
        None,
    )
    tree.bring(first)
    assert tree.holds("1.1")


def test_an_input_that_raises_when_an_image_comes() -> None:
    """Nothing of the image stays, and nothing is entered of it; what waits stays."""
    tree = Tree()
    tree.bring(image("1.1"))
    Counted.full = True
    entered: list[str] = []
    with pytest.raises(MemoryError):
        tree.insert(image("2.1", "PT"), Placement(KEY, ("pet",)), lambda: entered.append("2.1"))
    with pytest.raises(MemoryError):
        tree.insert(image("2.1", "PT", "P2"), Placement("P2", ("pet",)), lambda: entered.append("2.1"))
    assert (tree.members(KEY), tree.keys(), entered) == ({"1.1": "1.3"}, [KEY], [])
    Counted.full = False
    tree.bring(image("2.1", "PT"))
    assert tree.counts()[KEY] == {"ct": 1, "pet": 1, "mr": 0}


def test_an_image_that_came_again() -> None:
    """Its container counts as old as that, if the instance is still the one that is here."""
    tree = Tree()
    first = image("1.1")
    tree.bring(first)
    tree.time += 9
    assert not tree.touch_duplicate("1.1", Path("/nowhere/other.dcm"), KEY)
    assert tree.quiet_for(KEY) == 9
    assert tree.touch_duplicate("1.1", first.path, KEY)
    assert tree.quiet_for(KEY) == 0
    tree.take_images(KEY, {}, ["1.1"])
    assert tree.touch_duplicate("1.1", first.path, KEY)  # of a job: known, and no container to make younger
    assert tree.quiet_for(KEY) is None


def test_the_age_before_a_restart() -> None:
    """It is what it is said to be; of what does not wait nothing is remembered."""
    tree = Tree()
    tree.bring(image("1.1"))
    tree.set_age(KEY, 500)
    tree.set_age("P2", 500)
    assert (tree.quiet_for(KEY), tree.quiet_for("P2")) == (500, None)


# -- one takes the place of another -------------------------------------------------------------------------


def replace(tree: Tree, newer: LazyDataset, record: Any = lambda: None, **options: Any) -> bool:
    """Put an image in the place of the one of its UID."""
    older = tree.known.file_of(str(newer.SOPInstanceUID)) or Path("/nowhere/at-all.dcm")
    return tree.replace(older, newer, tree.place(newer), record, **{"of_job": False, **options})


def test_a_replacement() -> None:
    """The newer image is where the older one was, which is not there any more."""
    tree = Tree()
    tree.bring(image("1.1"), image("1.2"))
    assert replace(tree, image("1.1", file="newer"))
    assert tree.known.file_of("1.1") == Path("/nowhere/newer.dcm")
    assert tree.counts()[KEY]["ct"] == 2
    taken = tree.take(KEY)
    assert {each.path.stem for each in taken.images} == {"newer", "1.2"}


@pytest.mark.parametrize("where", [KEY, "P2"])
@pytest.mark.parametrize("fails", ["the record", "the input"])
def test_a_replacement_that_fails_restores_the_old_image(where: str, fails: str) -> None:
    """The image whose place it was to take waits as before: in its container, its inputs, with its age."""
    tree = Tree()
    tree.bring(image("1.1"))
    tree.time += 20
    newer = image("1.1", "PT" if fails == "the input" else "CT", where, file="newer")

    def record() -> None:
        assert fails == "the record"
        raise OSError("no space")

    Counted.full = fails == "the input"
    with pytest.raises((OSError, MemoryError)):
        replace(tree, newer, record)
    assert tree.counts() == {KEY: {"ct": 1, "pet": 0, "mr": 0}}
    assert tree.known.file_of("1.1") == Path("/nowhere/1.1.dcm")
    assert (tree.known.where("1.1"), tree.quiet_for(KEY), tree.quiet_for("P2")) == ("waiting", 20, None)


def test_a_replacement_that_goes_elsewhere() -> None:
    """With another Patient ID it goes to that patient; of the container that it leaves nothing stays."""
    tree = Tree()
    tree.bring(image("1.1"))
    assert replace(tree, image("1.1", patient="P2", file="newer"))
    assert tree.counts() == {"P2": {"ct": 1, "pet": 0, "mr": 0}}
    assert (tree.quiet_for(KEY), tree.container_of("1.1")) == (None, "P2")


def test_the_input_of_a_job_is_replaced_only_where_that_is_meant() -> None:
    """Its damaged file is; by another image of its UID it is not."""
    tree = Tree()
    tree.bring(image("1.1"))
    tree.take_images(KEY, {"ct": ["1.1"]})
    newer = image("1.1", file="newer")
    assert not replace(tree, newer)
    assert tree.known.file_of("1.1") == Path("/nowhere/1.1.dcm")
    assert replace(tree, newer, of_job=True)
    assert (tree.known.file_of("1.1"), tree.known.where("1.1")) == (Path("/nowhere/newer.dcm"), "in a job")
    assert tree.keys() == []


def test_a_replacement_that_comes_too_late() -> None:
    """The file whose place it was to take is the instance's no more: nothing changes."""
    tree = Tree()
    tree.bring(image("1.1"))
    newer = image("1.1", file="newer")
    assert not tree.replace(Path("/nowhere/gone.dcm"), newer, tree.place(newer), lambda: None, of_job=True)
    assert tree.known.file_of("1.1") == Path("/nowhere/1.1.dcm")


# -- is it complete? ----------------------------------------------------------------------------------------


def test_what_is_missing() -> None:
    """The words of the inputs; of nothing that waits, that there is no image."""
    tree = Tree()
    assert (tree.missing(KEY), tree.completeness(KEY)) == ("no image", None)
    tree.bring(image("1.1"))
    assert tree.missing(KEY) == "ct: 1 of 2 images; pet: no image yet"
    tree.bring(image("1.2"))
    assert tree.missing(KEY) is None


@pytest.mark.parametrize(
    ("images", "missing", "name", "raised"),
    [
        ([image("1.1")], "ct: its validation raised ValueError: Doe^John", "ct", ValueError),
        (
            [image("2.1", "PT", number=13)],
            "pet: its validation raised ValueError: thirteen",
            "pet",
            ValueError,
        ),
        (
            [image("3.1", "MR"), image("3.2", "MR", series="1.4"), image("1.1"), image("1.2")],
            "mr: choose_series raised LookupError: no idea",
            "mr",
            LookupError,
        ),
    ],
)
def test_the_code_of_an_input_that_raises(
    images: list[LazyDataset], missing: str, name: str, raised: type[Exception]
) -> None:
    """The container is not complete, says whose code raised, and its images are all there."""
    tree = Tree()
    tree.bring(*images)
    if name == "ct":
        CT.raises = ValueError("Doe^John")
    found = tree.completeness(KEY)
    assert found is not None
    assert missing in str(found)
    assert type(found.raised[name]) is raised
    assert missing in (tree.missing(KEY) or "")
    assert sum(len(held) for held in found.inputs.values()) == len(images)
    assert tree.may_be_proven(KEY) is False


def test_whether_a_proof_is_worth_asking_for() -> None:
    """Where every input can prove that it is whole: an input that counts, alone."""
    tree = Tree()
    assert tree.may_be_proven(KEY) is False
    tree.bring(image("2.1", "PT"), image("2.2", "PT"))
    assert tree.may_be_proven(KEY) is False  # the CT proves nothing

    class Alone(Pipeline):
        inputs = {"pet": Counted}
        alternatives = ()

    tree = Tree(Alone)
    tree.bring(image("2.1", "PT"))
    assert tree.may_be_proven(KEY) is False
    tree.bring(image("2.2", "PT"))
    assert tree.may_be_proven(KEY) is True


def test_what_would_be_missing_with_one_more() -> None:
    """It is found out without the image being put in."""
    tree = Tree()
    tree.bring(image("1.1"))
    second, one = image("1.2"), "ct: 1 of 2 images; pet: no image yet"
    assert tree.missing_with(second, tree.admission(second)) is None
    assert tree.missing_with(image("1.1"), tree.admission(image("1.1"))) == one
    other = image("9.1", patient="P2")
    assert tree.missing_with(other, tree.admission(other)) == one
    assert tree.counts() == {KEY: {"ct": 1, "pet": 0, "mr": 0}}


# -- can it join a job? -------------------------------------------------------------------------------------


def test_images_of_one_series_can_join() -> None:
    """Those that wait and those of a job are of one series; an input that is gone counts for nothing."""
    tree = Tree()
    tree.bring(image("1.3"))
    assert tree.can_join(KEY, [(image("1.1"), ("ct",)), (image("1.2"), ("ct", "gone"))])
    assert tree.counts() == {KEY: {"ct": 1, "pet": 0, "mr": 0}}


def test_images_for_different_inputs_can_join() -> None:
    """Each input has one series."""
    tree = Tree()
    tree.bring(image("2.1", "PT", series="2"))
    assert tree.can_join(KEY, [(image("1.1"), ("ct",))])


@pytest.mark.parametrize("other", [{"series": "1.4"}, {"series": "1.4", "study": "2.2"}])
def test_images_of_another_series_cannot_join(other: dict[str, Any]) -> None:
    """Where the input takes one, and nobody chooses; a choice of the operator is one."""
    tree = Tree()
    tree.bring(image("1.3"))
    job = [(image("1.1", **other), ("ct",))]
    assert not tree.can_join(KEY, job)
    tree.choose_series(KEY, "1.3")
    assert tree.can_join(KEY, job)


def test_what_nobody_would_choose_cannot_join() -> None:
    """A job would be ended for nothing: it would get the images that it has."""
    tree = Tree(Choosing)
    tree.bring(image("1.3", series="1.5"))
    assert not tree.can_join(KEY, [(image("1.1", series="1.6"), ("ct",))])
    assert tree.can_join(KEY, [(image("1.1", series="1.4"), ("ct",))])


def test_where_nothing_waits_nothing_joins() -> None:
    """All that came again may be a failed job's."""
    assert not Tree().can_join(KEY, [(image("1.1"), ("ct",))])


# -- images go ----------------------------------------------------------------------------------------------


def test_a_complete_container_is_taken() -> None:
    """All of it, each image with its inputs; the instances stay known, as those of a job."""
    tree = Tree()
    tree.bring(image("1.1"), image("1.2"))
    tree.time += 5
    taken = tree.take(KEY)
    assert [str(each.SOPInstanceUID) for each in taken.images] == ["1.1", "1.2"]
    assert (taken.left_out, taken.last_image) == ((), 100.0)
    assert [names for _, names in taken.waited_in] == [("ct",), ("ct",)]
    assert (tree.keys(), tree.quiet_for(KEY), tree.known.where("1.1")) == ([], None, "in a job")


def test_what_is_not_complete_is_not_taken() -> None:
    """It is said what is missing, and all of it waits on."""
    tree = Tree()
    with pytest.raises(InputsIncompleteError, match="no image"):
        tree.take(KEY)
    tree.bring(image("1.1"))
    with pytest.raises(InputsIncompleteError, match="1 of 2 images"):
        tree.take(KEY)
    assert (tree.members(KEY), tree.known.where("1.1")) == ({"1.1": "1.3"}, "waiting")


def test_exactly_what_was_chosen_is_taken() -> None:
    """What came since stays, with the age of its container."""
    tree = Tree()
    tree.bring(image("1.1"), image("1.2"), image("1.3"))
    tree.time += 5
    tree.bring(image("1.4"))
    taken = tree.take_images(KEY, {"ct": ["1.2", "1.1"]}, ["1.3"])
    assert [str(each.SOPInstanceUID) for each in taken.inputs["ct"]] == ["1.2", "1.1"]
    assert [str(each.SOPInstanceUID) for each in taken.left_out] == ["1.3"]
    assert (tree.members(KEY), tree.quiet_for(KEY)) == ({"1.4": "1.3"}, 0)
    assert (tree.known.where("1.3"), tree.known.where("1.4")) == ("in a job", "waiting")


@pytest.mark.parametrize("key", [KEY, "P2"])
def test_nothing_is_taken_where_an_image_has_gone(key: str) -> None:
    """All images wait on that are there."""
    tree = Tree()
    tree.bring(image("1.1"))
    with pytest.raises(InputsIncompleteError, match="have changed"):
        tree.take_images(key, {"ct": ["1.1", "1.2"]})
    assert (tree.members(KEY), tree.known.where("1.1")) == ({"1.1": "1.3"}, "waiting")


def test_what_is_put_back_waits_as_before() -> None:
    """In the same inputs, as old as it was: it counts from its last image, and not from being put back."""
    tree = Tree()
    tree.bring(image("1.1"), image("2.1", "PT"))
    before = tree.counts()
    tree.time += 30
    taken = tree.take_images(KEY, {"ct": ["1.1"]}, ["2.1"])
    tree.time += 10
    tree.put_back(KEY, taken.waited_in, taken.last_image)
    assert (tree.counts(), tree.quiet_for(KEY), tree.known.where("1.1")) == (before, 40, "waiting")


def test_what_is_put_back_without_an_age_came_now() -> None:
    """The images of a job that joins: nobody knows any more when they came."""
    tree = Tree()
    tree.put_back(KEY, [(image("1.1"), ("ct",))])
    tree.time += 3
    assert tree.quiet_for(KEY) == 3


def test_what_is_there_already_stays() -> None:
    """An image that came anew is not replaced by the one that is put back, nor made older by it."""
    tree = Tree()
    tree.bring(image("1.1"))
    taken = tree.take_images(KEY, {"ct": ["1.1"]})
    tree.known.forget([("1.1", "/nowhere/1.1.dcm")])
    tree.time += 60
    tree.bring(image("1.1", file="newer"))
    tree.put_back(KEY, taken.waited_in, taken.last_image)
    assert tree.known.file_of("1.1") == Path("/nowhere/newer.dcm")
    assert (tree.counts()[KEY]["ct"], tree.quiet_for(KEY)) == (1, 0)


def test_an_input_that_there_is_no_more() -> None:
    """What was in it goes back into the others; what was in it alone does not wait."""
    tree = Tree()
    tree.put_back(KEY, [(image("1.1"), ("ct", "gone")), (image("1.2"), ("gone",))])
    assert (tree.members(KEY), tree.known.where("1.2")) == ({"1.1": "1.3"}, None)


def test_a_series_is_chosen_by_the_operator() -> None:
    """It is what a job gets, whatever the input's own code says."""
    tree = Tree()
    tree.bring(image("1.1"), image("1.2"), image("3.1", "MR"), image("3.2", "MR", series="1.4"))
    assert tree.choose_series(KEY, "1.9") == ()
    assert tree.choose_series(KEY, "1.4") == ("mr",)
    found = tree.completeness(KEY)
    assert found is not None
    assert (str(found), [str(each.SOPInstanceUID) for each in found.inputs["mr"]]) == ("", ["3.2"])
    taken = tree.take(KEY)
    assert [str(each.SOPInstanceUID) for each in taken.left_out] == ["3.1"]


# -- earlier images are fetched -----------------------------------------------------------------------------


class Earlier(HistoricAbstractInput):
    """CT images of before."""

    required_values = {"Modality": "CT"}


class Comparing(Pipeline):
    """One that compares with before."""

    inputs = {"ct": CT, "before": Earlier}
    alternatives = ()


def fetching(*asked_for: str) -> HistoryStatus:
    """Return that studies or series are fetched for the patient."""
    return HistoryStatus(HistoryState.FETCHING, "PACS", "", KEY, frozenset(asked_for))


def test_an_image_that_was_asked_for() -> None:
    """It goes to the input that fetches, in the container for which it was asked for; others do not."""
    tree = Tree(Comparing)
    tree.bring(image("1.1"))
    tree.set_history(KEY, "before", fetching("0.9"))
    earlier = image("0.1", study="0.9", series="0.8")
    assert tree.asked_for(earlier)
    assert tree.place(earlier) == Placement(KEY, ("before",), asked_for=True)
    assert tree.place(earlier, Prevalidation("P9", {"ct": None})).container_key == KEY
    assert not tree.asked_for(image("1.2"))
    assert tree.place(image("1.2")) == Placement(KEY, ("ct",))
    assert not tree.asked_for(image("7.1", patient="P2", study="0.9"))


def test_what_was_fetched_is_forgotten_with_its_container() -> None:
    """Then such an image is like any other."""
    tree = Tree(Comparing)
    tree.bring(image("1.1"))
    tree.set_history(KEY, "before", fetching("0.9"))
    assert tree.history(KEY, "before") == fetching("0.9")
    tree.forget_history(KEY)
    assert tree.history(KEY, "before") is None
    assert not tree.asked_for(image("0.1", study="0.9"))


def test_an_image_that_was_asked_for_and_refused() -> None:
    """The input that fetches learns of it, so that it is not waited for."""
    tree = Tree(Comparing)
    tree.bring(image("1.1"))
    tree.set_history(KEY, "before", fetching("0.9"))
    with pytest.raises(ImageRefusedError, match="before: Modality is MR, not CT"):
        tree.place(image("0.1", "MR", study="0.9"))
    refused = tree.ask_input(KEY, "before", lambda held: set(getattr(held, "refused", ())))
    assert refused == {"0.1"}
    assert tree.ask_input("P2", "before", len) is None


def test_the_image_for_which_others_are_fetched() -> None:
    """It is one that nobody has fetched."""
    tree = Tree(Comparing)
    assert tree.first_image(KEY) is None
    tree.set_history(KEY, "before", fetching("0.9"))
    tree.bring(image("0.1", study="0.9"))
    assert tree.first_image(KEY) is None
    tree.bring(image("1.1"))
    first = tree.first_image(KEY)
    assert first is not None
    assert first.SOPInstanceUID == "1.1"


def test_a_look_at_the_tree_itself() -> None:
    """It is the pipeline's tree of floor 2, with what waits."""
    tree = Tree()
    tree.bring(image("1.1"))
    with tree.locked() as inner:
        assert list(inner.containers) == [KEY]
