"""What is remembered of an association's instances never changes what comes out, only how soon."""

from __future__ import annotations

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomnode.host.parsing.inspection import RefusedDataSetError, inspect
from dicomnode.host.parsing.layout_cache import LayoutCache
from dicomnode.host.parsing.statuses import Status
from dicomnode.host.parsing.structure import BytesSource, walk_and_mark
from raw_peer import CT, MR
from receiving import encoded, small_dataset

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
WANTED = frozenset(
    {0x00080008, 0x00080060, 0x00100010, 0x00200013, 0x00200032, 0x00201041, 0x00280010, 0x00280030}
)


def outcome(
    data: bytes, expected: tuple[str, str], layouts: LayoutCache | None, syntax: str = EXPLICIT
) -> object:
    try:
        return inspect(BytesSource(data), 0, len(data), syntax, WANTED, expected=expected, layouts=layouts)
    except RefusedDataSetError as refused:
        return refused.response


def slice_of(number: int, **values: object) -> Dataset:
    dataset = small_dataset(SOPInstanceUID=f"1.2.3.{number:04d}", InstanceNumber=f"{number:4d}", **values)
    dataset.ImagePositionPatient = [f"{number:6d}", "1.5", "-2"]
    return dataset


def test_a_series_is_recalled() -> None:
    """From the fourth slice on nothing but what differs is looked at, and the index is the slice's own."""
    layouts = LayoutCache()
    for number in range(1000, 1020):
        data = encoded(slice_of(number))
        index = outcome(data, (MR, f"1.2.3.{number}"), layouts)
        assert index == outcome(data, (MR, f"1.2.3.{number}"), None)
        assert isinstance(index, dict)
        assert (index[0x00200013], index[0x00080018]) == (number, f"1.2.3.{number}")
        assert index[0x00200032] == [float(number), 1.5, -2.0]
    assert layouts.recalled == 17


class FirstBytes(BytesSource):
    """A file of which 4 kB are at hand at a time."""

    def window(self, position: int, at_least: int) -> bytes:
        """Return no more than that."""
        return super().window(position, at_least)[: max(at_least, 4096)]


def test_what_cannot_be_remembered_is_not_learnt_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements after large pixels lie beyond what is at hand: found out once, then walked over as ever."""
    learnt = []

    def learn(*given: object) -> object:
        learnt.append(given)
        return walk_and_mark(*given)  # type: ignore[arg-type]  # handed on as they come

    monkeypatch.setattr("dicomnode.host.parsing.layout_cache.walk_and_mark", learn)
    layouts = LayoutCache()
    for number in range(1000, 1010):
        data = encoded(slice_of(number, DataSetTrailingPadding=bytes(2)))
        expected = MR, f"1.2.3.{number}"
        source = FirstBytes(data)
        index = inspect(source, 0, len(data), EXPLICIT, WANTED, expected=expected, layouts=layouts)
        assert index == outcome(data, expected, None)
    assert (layouts.hits, layouts.recalled, len(learnt)) == (0, 0, 1)


def test_an_index_is_a_copy() -> None:
    """Changing the index of one instance changes no other's."""
    layouts = LayoutCache()
    for number in range(1000, 1010):
        index = outcome(encoded(slice_of(number)), (MR, f"1.2.3.{number}"), layouts)
        assert isinstance(index, dict)
        assert index[0x00280030] == [0.3125, 0.3125]
        index[0x00280030].append(7)
        index[0x00200032].clear()
        index[0x00080060] = "changed"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Rows": 65}, Status.PIXELS_INCOMPLETE),
        ({"SOPClassUID": CT}, Status.DATA_SET_MISMATCH),
        ({"SOPInstanceUID": "1.2.3.9999"}, Status.OTHER_INSTANCE),
        ({"StudyInstanceUID": ""}, Status.UID_MISSING),
        ({"BitsAllocated": 32}, Status.PIXELS_INCOMPLETE),
    ],
)
def test_what_decides_is_looked_at_each_time(change: dict[str, object], status: int) -> None:
    """However well a series is known, an instance that should be refused is, and the next one is not."""
    layouts = LayoutCache()
    for number in range(1000, 1006):
        outcome(encoded(slice_of(number)), (MR, f"1.2.3.{number}"), layouts)
    assert layouts.recalled
    good = encoded(slice_of(1006))
    bad = slice_of(1006)
    for keyword, value in change.items():
        if value == "":  # of the same length, or the layout would be another
            value = " " * len(bad[keyword].value)  # noqa: PLW2901 - the case says what is changed, not its length
        setattr(bad, keyword, value)
    if "SOPClassUID" in change:
        bad.SOPClassUID = CT.ljust(len(MR))
    for data, expected in ((encoded(bad), status), (good, None)):
        answer = outcome(data, (MR, "1.2.3.1006"), layouts)
        assert answer == outcome(data, (MR, "1.2.3.1006"), None)
        assert getattr(answer, "status", None) == expected


def test_series_after_series_is_recalled() -> None:
    """Another series on the same association is soon known as well as the first."""
    layouts = LayoutCache()
    for series in range(10):
        for number in range(1000, 1010):
            data = encoded(slice_of(number, SeriesInstanceUID=f"1.2.9.{series}", PatientID=f"P{series}"))
            expected = MR, f"1.2.3.{number}"
            assert outcome(data, expected, layouts) == outcome(data, expected, None)
    assert layouts.recalled >= 10 * 9 - 3


def test_what_never_stays_is_given_up() -> None:
    """Instances that alternate in what decides cost no more than a bounded effort to remember them."""
    layouts = LayoutCache()
    for number in range(1000, 1100):
        data = encoded(slice_of(number, SeriesInstanceUID=f"1.2.9.{number}"))
        expected = MR, f"1.2.3.{number}"
        assert outcome(data, expected, layouts) == outcome(data, expected, None)
    assert layouts.recalled == 0
    ((_layout, templates),) = layouts._known[next(iter(layouts._known))]
    assert templates.template is None


_damage = st.lists(st.tuples(st.integers(0, 1800), st.integers(0, 255)), max_size=3)


@settings(max_examples=250, deadline=None)
@given(st.lists(_damage, min_size=1, max_size=4), st.sampled_from([EXPLICIT, IMPLICIT]), st.booleans())
def test_damage_is_found_however_well_known(
    damages: list[list[tuple[int, int]]], syntax: str, nested: bool
) -> None:
    """After a sound series, any damage to the next instances has the outcome that it has by itself."""
    layouts = LayoutCache()
    extra = {}
    if nested:
        extra["ReferencedStudySequence"] = Sequence([Dataset()])
        extra["ReferencedStudySequence"][0].ReferencedSOPInstanceUID = "1.2.3"
    for number in range(1000, 1004):
        outcome(encoded(slice_of(number, **extra), syntax), (MR, f"1.2.3.{number}"), layouts, syntax)
    for number, damage in enumerate(damages, 1004):
        data = bytearray(encoded(slice_of(number, **extra), syntax))
        for at, value in damage:
            data[at] = value
        expected = MR, f"1.2.3.{number}"
        alone = outcome(bytes(data), expected, None, syntax)
        assert outcome(bytes(data), expected, layouts, syntax) == alone


def test_the_files_of_pydicom_in_turn() -> None:
    """Whatever real data sets follow each other on an association, each has its own outcome."""
    layouts = LayoutCache()
    names = ["CT_small.dcm", "MR_small.dcm", "CT_small.dcm", "MR_small.dcm"] * 4
    for name in names:
        dataset = pydicom.dcmread(pydicom.data.get_testdata_file(name))
        data = encoded(dataset)
        expected = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
        assert outcome(data, expected, layouts) == outcome(data, expected, None)
    assert layouts.recalled >= 8
