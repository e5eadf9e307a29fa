"""The four levels of DICOM's own: patients, studies, series, images (PS3.3 section A.1.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar, Self, cast

from pydicom.dataset import Dataset

from dicomnode.dicom.tree.identifiers import identifier
from dicomnode.dicom.tree.image_tree import ImageTreeInterface, absent_error, duplicate_error
from dicomnode.dicom.tree.tree_text import TextNode, counted, label_of
from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import ImageTreeError


class _Level(ImageTreeInterface):
    """A level of the DICOM tree: it may stand alone, or in the level above.

    Parameters
    ----------
    key : str, optional
        What all images here have in common; the first image says it when it is not given.
    """

    keyword: ClassVar[str] = ""
    """The attribute that is the same for all images of this level; empty for the whole tree."""

    def __init__(self, key: str | None = None) -> None:
        super().__init__()
        self._given = key
        self._parent: _Branch | None = None
        # Of the whole tree that this is part of: where an instance is, and that it is nowhere else, is found
        # without a walk over the levels.
        self._register: dict[str, SeriesTree] = {}

    @property
    def key(self) -> str | None:
        """What all images here have in common, or None in an empty level that was not given one."""
        if self._given is not None or not self.keyword:
            return self._given
        first = next(iter(self), None)
        return None if first is None else identifier(first, self.keyword)

    def _check(self, image: Dataset) -> None:
        """Raise unless the image belongs to this level and to those above."""
        if self.keyword:
            key, own = identifier(image, self.keyword), self.key
            if own is not None and key != own:
                here = f"the {type(self).__name__} of {safe_text(own)}"
                msg = f"an image of {self.keyword} {safe_text(key)} does not go into {here}"
                raise ImageTreeError(msg)
        if self._parent is not None:
            self._parent._check(image)

    def _text_node(self) -> TextNode:
        if not self.keyword:
            return super()._text_node()
        example = next(iter(self), None)
        return TextNode(label_of(self.keyword, self.key, example, self._content()))

    def _content(self) -> str:
        """Say how much is here."""
        return counted(len(self), "image")

    def _alone(self) -> None:
        """Stand alone, empty."""
        self._parent = None
        self._register = {}

    def _empty(self) -> Self:
        made = super()._empty()
        made._alone()
        return made


class SeriesTree(_Level):
    """The images of one series.

    Parameters
    ----------
    SeriesInstanceUID : str, optional
        The series; the first image says it when it is not given.
    """

    keyword = "SeriesInstanceUID"

    def add_image(self, image: Dataset) -> None:
        """Add an image of this series.

        Raises
        ------
        ImageTreeError
            When it is of another series (or study or patient, where the tree above says them).
        DuplicateImageError
            When an image of its SOP Instance UID is in the series, or elsewhere in the tree that it is part
            of.
        """
        self._check(image)
        self._insert(image)

    def _insert(self, image: Dataset) -> None:
        uid = identifier(image, "SOPInstanceUID")
        if uid in self._register:
            raise duplicate_error(self, uid)
        self._images[uid] = image
        self._register[uid] = self

    def remove(self, SOPInstanceUID: str) -> None:  # noqa: N803 - DICOM's own spelling
        """Take an image out.

        Raises
        ------
        ImageTreeError
            When it is not here.
        """
        super().remove(SOPInstanceUID)
        del self._register[SOPInstanceUID]
        if not self._images and self._parent is not None:
            self._parent._prune(self)


class _Branch(_Level):
    """A level that holds levels."""

    below: ClassVar[type[_Level]]
    """The level below."""

    def __init__(self, key: str | None = None) -> None:
        super().__init__(key)
        self._children: dict[str, _Level] = {}

    def add_image(self, image: Dataset) -> None:
        """Add an image, in the series that it says it is of.

        Raises
        ------
        ImageTreeError
            When it is of another patient or study than this tree, or lacks an identifier.
        DuplicateImageError
            When an image of its SOP Instance UID is anywhere in the tree.
        """
        self._check(image)
        self._insert(image)

    def _insert(self, image: Dataset) -> None:
        uid = identifier(image, "SOPInstanceUID")
        if uid in self._register:
            raise duplicate_error(self, uid)
        # All that can go wrong goes wrong before a level is made: none is ever left empty.
        keys = [identifier(image, keyword) for keyword in self._keywords_below()]
        node: _Branch = self
        for key in keys[:-1]:
            node = cast(_Branch, node._child(key))
        node._child(keys[-1])._insert(image)

    @classmethod
    def _keywords_below(cls) -> tuple[str, ...]:
        below = cls.below
        return (below.keyword, *(below._keywords_below() if issubclass(below, _Branch) else ()))

    def _child(self, key: str) -> _Level:
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self.below(key)
            child._parent, child._register = self, self._register
        return child

    def _prune(self, child: _Level) -> None:
        """Leave out a level that has become empty. Who still holds it holds a tree that stands alone."""
        del self._children[str(child._given)]
        child._alone()
        if not self._children and self._parent is not None:
            self._parent._prune(self)

    def remove(self, SOPInstanceUID: str) -> None:  # noqa: N803 - DICOM's own spelling
        """Take an image out, and levels that it leaves empty.

        Raises
        ------
        ImageTreeError
            When it is not here.
        """
        if SOPInstanceUID not in self:
            raise absent_error(self, SOPInstanceUID)
        self._register[SOPInstanceUID].remove(SOPInstanceUID)

    def get(self, SOPInstanceUID: str) -> Dataset | None:  # noqa: N803 - DICOM's own spelling
        """Return an image by its SOP Instance UID, or None when it is not here."""
        return self._register[SOPInstanceUID].get(SOPInstanceUID) if SOPInstanceUID in self else None

    def __contains__(self, uid: object) -> bool:
        node: _Level | None = self._register.get(uid) if isinstance(uid, str) else None
        while node is not None and node is not self:
            node = node._parent
        return node is self

    def __len__(self) -> int:
        # Counted, not kept: a sum over the series cannot drift.
        return sum(map(len, self._children.values()))

    def __bool__(self) -> bool:
        return bool(self._children)

    def __iter__(self) -> Iterator[Dataset]:
        for child in self._children.values():
            yield from child

    def _text_node(self) -> TextNode:
        below = tuple(child._text_node() for child in self._children.values())
        return replace(super()._text_node(), children=below)

    def _empty(self) -> Self:
        made = super()._empty()
        made._children = {}
        return made


class StudyTree(_Branch):
    """The images of one study, by series.

    Parameters
    ----------
    StudyInstanceUID : str, optional
        The study; the first image says it when it is not given.
    """

    keyword = "StudyInstanceUID"
    below = SeriesTree

    @property
    def series(self) -> Mapping[str, SeriesTree]:
        """The series by Series Instance UID; none of them is empty."""
        return MappingProxyType(cast(dict[str, SeriesTree], self._children))

    def _content(self) -> str:
        return f"{len(self._children)} series, {super()._content()}"


class PatientTree(_Branch):
    """The images of one patient, by study.

    Parameters
    ----------
    PatientID : str, optional
        The patient, who may be the empty text; the first image says it when it is not given.
    """

    keyword = "PatientID"
    below = StudyTree

    @property
    def studies(self) -> Mapping[str, StudyTree]:
        """The studies by Study Instance UID; none of them is empty."""
        return MappingProxyType(cast(dict[str, StudyTree], self._children))


class DicomTree(_Branch):
    """Any images, by patient, study and series.

    Images without a Patient ID are together under the empty text.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> tree = DicomTree()
    >>> tree.discover(get_testdata_file("CT_small.dcm")).added
    1
    >>> ct = tree.filter(lambda image: image.Modality == "CT")
    >>> len(ct)
    1
    """

    below = PatientTree

    def __init__(self) -> None:
        super().__init__()

    @property
    def patients(self) -> Mapping[str, PatientTree]:
        """The patients by Patient ID; none of them is empty."""
        return MappingProxyType(cast(dict[str, PatientTree], self._children))
