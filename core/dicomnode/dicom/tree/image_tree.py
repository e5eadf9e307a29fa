"""Trees of images: what every tree can do."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from pydicom.dataset import Dataset

from dicomnode.dicom.tree.identifiers import identifier
from dicomnode.dicom.tree.tree_files import Discovery, Progress, discover, save
from dicomnode.dicom.tree.tree_text import TextNode, counted, rich_of, text_of
from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import DuplicateImageError, ImageTreeError

if TYPE_CHECKING:
    from rich.tree import Tree

T = TypeVar("T")


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

    def add_images(self, images: Iterable[Dataset] | str | PathLike[str]) -> int:
        """Add images, or the DICOM files of a folder, and return how many were added.

        Of a folder, what does not belong here is left out; :meth:`discover` says what and why.

        Raises
        ------
        ImageTreeError, ImageRefusedError
            At the first of the images that does not go in, as :meth:`add_image`; those before it stay.
        FileNotFoundError
            When there is no such folder.
        """
        if isinstance(images, str | PathLike):
            return self.discover(images).added
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
            raise absent_error(self, SOPInstanceUID)

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
            raise duplicate_error(self, uid)
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
        return discover(self.add_image, Path(path), progress)

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
        return save(self, Path(path))

    # -- for the reader -----------------------------------------------------------------------------------

    def __str__(self) -> str:
        return text_of(self._text_node())

    def __rich__(self) -> Tree:
        return rich_of(self._text_node())

    def _text_node(self) -> TextNode:
        """Return what the tree says of itself, for the reader."""
        return TextNode(f"{type(self).__name__}: {counted(len(self), 'image')}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} images>"


def duplicate_error(tree: ImageTreeInterface, uid: str) -> DuplicateImageError:
    """Make the error for an image that a tree holds already."""
    return DuplicateImageError(
        f"the {type(tree).__name__} holds an image of SOPInstanceUID {safe_text(uid)} already"
    )


def absent_error(tree: ImageTreeInterface, uid: str) -> ImageTreeError:
    """Make the error for an image that a tree does not hold."""
    return ImageTreeError(f"the {type(tree).__name__} holds no image of SOPInstanceUID {safe_text(uid)}")
