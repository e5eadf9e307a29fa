"""Trees of images: what every tree can do, and the four levels of DICOM's own (PS3.3 section A.1.2)."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar, cast

from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import DuplicateImageError, ImageTreeError

if TYPE_CHECKING:
    from rich.tree import Tree

    from dicomnode.dicom.tree.tree_files import Discovery, Progress

T = TypeVar("T")

_IDENTIFIERS = {
    "PatientID": 0x00100020,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
    "SOPInstanceUID": 0x00080018,
}


class ImageTreeInterface(ABC):
    """A collection of images, each held once by its SOP Instance UID.

    A subclass says how an image is added: it overrides :meth:`add_image`, which calls :meth:`_insert` for an
    image that belongs. Images are iterated in the order in which they came, and are held as they are: a
    :class:`~dicomnode.LazyDataset` stays unread.

    A tree has no lock: who shares one between threads holds a lock around it.
    """

    def __init__(self) -> None:
        self._images: dict[str, Dataset] = {}

    # -- what a subclass says -----------------------------------------------------------------------------

    @abstractmethod
    def add_image(self, image: Dataset) -> None:
        """Add an image.

        Parameters
        ----------
        image : pydicom.Dataset
            The image; it is held, not copied.

        Raises
        ------
        ImageTreeError
            When it does not belong here, or lacks an identifier.
        DuplicateImageError
            When an image of its SOP Instance UID is here already.
        """

    # -- the content --------------------------------------------------------------------------------------

    def add_images(self, images: Iterable[Dataset]) -> int:
        """Add images, and return how many were added. The first that does not go in raises.

        Raises
        ------
        ImageTreeError
            As :meth:`add_image`; the images before it stay.
        """
        count = 0
        for image in images:
            self.add_image(image)
            count += 1
        return count

    def remove(self, SOPInstanceUID: str) -> None:  # noqa: N803 - DICOM's own spelling
        """Take an image out.

        Raises
        ------
        ImageTreeError
            When it is not here.
        """
        if self._images.pop(SOPInstanceUID, None) is None:
            raise ImageTreeError(_not_here(self, SOPInstanceUID))

    def get(self, SOPInstanceUID: str) -> Dataset | None:  # noqa: N803 - DICOM's own spelling
        """Return an image by its SOP Instance UID, or None when it is not here."""
        return self._images.get(SOPInstanceUID)

    def __contains__(self, uid: object) -> bool:
        return uid in self._images

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Dataset]:
        return iter(self._images.values())

    def _insert(self, image: Dataset) -> None:
        """Hold an image that belongs here.

        Raises
        ------
        DuplicateImageError
            When an image of its SOP Instance UID is here already.
        """
        uid = identifier(image, "SOPInstanceUID")
        if uid in self._images:
            raise DuplicateImageError(_twice(self, uid))
        self._images[uid] = image

    def _empty(self) -> Self:
        """Return a tree like this one, with no image in it."""
        made = copy.copy(self)
        made._images = {}
        return made

    # -- over all images ----------------------------------------------------------------------------------

    def map(self, function: Callable[[Dataset], T]) -> list[T]:
        """Return what a function returns for each image, in order."""
        return [function(image) for image in self]

    def filter(self, wanted: Callable[[Dataset], bool]) -> Self:
        """Return a tree of the same kind with the images for which a function is true."""
        made = self._empty()
        for image in self:
            if wanted(image):
                made._insert(image)
        return made

    def find(self, wanted: Callable[[Dataset], bool]) -> Dataset | None:
        """Return the first image for which a function is true, or None."""
        return next((image for image in self if wanted(image)), None)

    # -- files --------------------------------------------------------------------------------------------

    def discover(self, path: str | PathLike[str], progress: Progress | None = None) -> Discovery:
        """Add the DICOM files in a folder and the folders below, as lazy datasets.

        Parameters
        ----------
        path : str or os.PathLike
            A folder, or one file.
        progress : callable, optional
            Called after each file with the number of files looked at and the number of all files.

        Returns
        -------
        Discovery
            How many images were added, and each file that was not, with the reason.

        Raises
        ------
        FileNotFoundError
            When there is nothing at the path.
        """
        from dicomnode.dicom.tree.tree_files import discover

        return discover(self, Path(path), progress)

    def save(self, path: str | PathLike[str]) -> list[Path]:
        """Write every image below a folder, in the DICOM File Format.

        The path of an image is ``PatientID/StudyInstanceUID/SeriesInstanceUID/SOPInstanceUID.dcm``, each part
        through :func:`.safe_name`, whatever the kind of tree and whatever else is in it.
        A file that is there already is replaced. A lazy dataset that has not been read is copied byte for
        byte.

        Parameters
        ----------
        path : str or os.PathLike
            The folder; it is made when it is not there.

        Returns
        -------
        list of pathlib.Path
            The files written, in the order of the images.

        Raises
        ------
        ImageTreeError
            When an image lacks an identifier, or does not say its transfer syntax.
        """
        from dicomnode.dicom.tree.tree_files import save

        return save(self, Path(path))

    # -- for the reader -----------------------------------------------------------------------------------

    def __str__(self) -> str:
        from dicomnode.dicom.tree.tree_text import text_of

        return text_of(self)

    def __rich__(self) -> Tree:
        from dicomnode.dicom.tree.tree_text import rich_of

        return rich_of(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} images>"


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
        self._register: dict[str, SeriesTree] = {}  # of the whole tree that this is part of

    @property
    def key(self) -> str | None:
        """What all images here have in common, or None in an empty level that was not told."""
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
            raise DuplicateImageError(_twice(self, uid))
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
            raise DuplicateImageError(_twice(self, uid))
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
            raise ImageTreeError(_not_here(self, SOPInstanceUID))
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


def identifier(image: Dataset, keyword: str) -> str:
    """Return an identifier of an image as text; only the Patient ID may be empty (PS3.3 section C.7.1.1).

    Raises
    ------
    ImageTreeError
        When the image lacks it.
    """
    value = image.indexed_value(_IDENTIFIERS[keyword]) if isinstance(image, LazyDataset) else None
    value = value or image.get(keyword)
    if value:
        return str(value)
    if keyword == "PatientID":
        return ""
    path = getattr(image, "path", None)
    msg = f"an image has no {keyword}, so no tree can hold it{'' if path is None else f': {safe_text(path)}'}"
    raise ImageTreeError(msg)


def _twice(tree: ImageTreeInterface, uid: str) -> str:
    return f"the {type(tree).__name__} holds an image of SOPInstanceUID {safe_text(uid)} already"


def _not_here(tree: ImageTreeInterface, uid: str) -> str:
    return f"the {type(tree).__name__} holds no image of SOPInstanceUID {safe_text(uid)}"
