"""A dataset on disk that is read when it is touched."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeAlias

from pydicom._dicom_dict import DicomDictionary
from pydicom.config import IGNORE
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID
from pydicom.valuerep import AMBIGUOUS_VR

from dicomnode.dicom.reading.lazy_elements import (
    TEXT_AS_IT_IS,
    ElementOnDisk,
    IndexedElement,
    LateTexts,
    are_texts,
)
from dicomnode.dicom.reading.lazy_reading import opened, read_without_pixels
from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.dicom.values.tags import ABSENT, PIXEL_KEYWORDS, STORED_BYTES

_set = object.__setattr__
_SOP_INSTANCE_UID = 0x00080018
_NEVER_INDEXED = frozenset({"SQ", "UN", "OB", "OD", "OF", "OL", "OV", "OW"}) | {
    str(VR) for VR in AMBIGUOUS_VR
}
_COMES_WITH_READING = frozenset(vars(FileDataset("", {})))
"""The attributes that pydicom's own methods expect, none of which an untouched handle has."""


class LazyDataset(FileDataset):
    """A DICOM file that behaves as a :class:`pydicom.Dataset` and is read when touched.

    Three stages: indexed tags are answered without opening the file; anything else reads the header, that is
    all but the pixels; Pixel Data is read when its value is asked for, and can be released again with
    :meth:`release_pixels` or by using the dataset in a ``with`` block. Writing to the dataset changes the
    dataset, never the file.

    Handles may be read from several threads at once. A handle is pickled and copied as it is: untouched ones
    by path and index, read ones with what they hold, except for pixels that are still as on disk.

    Parameters
    ----------
    path : str or os.PathLike
        The file, in the DICOM File Format (PS3.10 section 7).
    index : mapping of int to IndexedValue, optional
        Values of top-level tags as the receiver indexed them: str, int, float, None, or a list of these. The
        VR comes from the dictionary. Sequences, bulk data, private tags and tags whose VR depends on other
        tags are passed over, and answered by the file.

    Raises
    ------
    FileGoneError
        When the file is needed and gone. From any access, not from the constructor.
    StructureError
        When the file is needed and is not DICOM.

    Examples
    --------
    >>> image = LazyDataset("/spool/1.dcm", {0x00080060: "CT", 0x00080008: ["ORIGINAL", "PRIMARY"]})
    >>> image.Modality, "ORIGINAL" in image.ImageType
    ('CT', True)
    """

    __slots__ = ("_index_layout", "_index_values", "_path", "_was_read")
    _path: str
    _was_read: bool

    def __init__(self, path: str | os.PathLike[str], index: Mapping[int, IndexedValue] | None = None) -> None:
        # FileDataset.__init__ is left out on purpose: its dozen attributes come with reading.
        # And so is pydicom's __setattr__, which looks each name up in the dictionary.
        layout = _layout_of(tuple(index)) if index else _NO_LAYOUT
        _set(self, "_path", os.fspath(path))
        _set(self, "_was_read", False)
        _set(self, "_index_layout", layout)
        _set(self, "_index_values", tuple([_shared(tag, index[tag]) for tag in layout]) if index else ())

    # -- the handle ---------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._path)

    @property
    def file(self) -> str:
        """The file, as text: a path object takes longer to make than an image to be put into a tree."""
        return self._path

    @property
    def index(self) -> dict[int, IndexedValue]:
        """The tags that are answered without the file, as plain data."""
        return {
            tag: list(value) if isinstance(value, tuple) else value
            for tag, value in zip(self._index_layout, self._index_values, strict=True)
        }

    def indexed_value(self, tag: int, default: IndexedValue = None) -> IndexedValue:
        """Return the plain value of an indexed tag, without making an element; never reads the file.

        Parameters
        ----------
        tag : int
            The tag.
        default : IndexedValue
            What to return when the tag is not indexed, or the file has been read and speaks for itself.
        """
        entry = None if self._was_read else self._index_layout.get(tag)
        if entry is None:
            return default
        value = self._index_values[entry[0]]
        return list(value) if isinstance(value, tuple) else value

    def indexed_values(self, tags: tuple[int, ...]) -> Sequence[Any]:
        """Return the plain values of several tags as :meth:`indexed_value` does, lists as tuples.

        Parameters
        ----------
        tags : tuple of int
            The tags.
        """
        if self._was_read:
            return (None,) * len(tags)
        layout, values = self._index_layout, self._index_values
        entries = [layout.get(tag) for tag in tags]
        return [None if entry is None else values[entry[0]] for entry in entries]

    def at(self, path: str | os.PathLike[str]) -> LazyDataset:
        """Return an untouched handle with the same index: the file was moved there."""
        return self._untouched(os.fspath(path))

    @property
    def was_read(self) -> bool:
        """Whether the file has been read, so that the header is held in memory."""
        return self._was_read

    def opened(self) -> AbstractContextManager[BinaryIO]:
        """Open the file for reading its bytes, in a ``with`` block.

        Raises
        ------
        FileGoneError
            When it is no longer there.
        """
        return opened(self._path)

    def release_pixels(self) -> None:
        """Let go of Pixel Data and the decoded array; they are read again when asked for.

        Pixel Data that was assigned to the dataset is kept, since it is nowhere else.
        """
        with _lock_of(self):
            if not self._was_read:
                return
            for tag in PIXEL_KEYWORDS:
                element = self._dict.get(BaseTag(tag))
                if isinstance(element, ElementOnDisk):
                    element.release()
            self._pixel_array = None
            self._pixel_id = {}

    def release(self) -> None:
        """Return to the untouched state: all that was read, and every change to the dataset, is let go of."""
        with _lock_of(self):
            self._was_read = False
            self.__dict__.clear()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.release_pixels()

    # -- reading ------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Read the header, once, whoever asks."""
        if self._was_read:
            return
        with _lock_of(self):
            if not self._was_read:
                for name, value in vars(read_without_pixels(self._path)).items():
                    self.__dict__.setdefault(name, value)  # what was set on the handle before stands
                self._was_read = True

    def _indexed(self, tag: int) -> IndexedElement | None:
        """Return an element from the index, or None where the file must answer."""
        entry = None if self._was_read else self._index_layout.get(tag)
        if entry is None:
            return None
        position, vr = entry
        try:
            return IndexedElement(BaseTag(tag), vr, self._index_values[position], self._adopt)
        except (TypeError, ValueError):  # text that is no number: the file says it as pydicom would
            return None

    def _kept_as_it_is(self, tag: int, entry: tuple[int, str]) -> Any:
        """Return the value of an indexed tag that needs no element to be read from, else None."""
        value, vr = self._index_values[entry[0]], entry[1]
        if type(value) is str and "\\" not in value:
            if vr in TEXT_AS_IT_IS:
                return value
            if vr == "UI":
                return UID(value, IGNORE)
        elif vr in TEXT_AS_IT_IS and are_texts(value):
            return LateTexts(partial(IndexedElement, BaseTag(tag), vr, value, self._adopt), value)
        return None

    def _adopt(self, element: DataElement) -> None:
        self[element.tag] = element

    # -- what pydicom does, with the index asked first -----------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name in _COMES_WITH_READING:
            self._read()
            return object.__getattribute__(self, name)
        if not self._was_read:
            tag = tag_for_keyword(name)
            if tag is None:
                return object.__getattribute__(self, name)
            entry = self._index_layout.get(tag)
            if entry is not None:
                kept = self._kept_as_it_is(tag, entry)
                if kept is not None:
                    return kept
                element = self._indexed(tag)
                if element is not None:
                    return element.value
            elif tag | ABSENT in self._index_layout:
                msg = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(msg)
        with _lock_of(self):
            return super().__getattr__(name)

    def __getitem__(self, key: Any) -> Any:
        if not self._was_read and not isinstance(key, slice):
            try:
                tag = Tag(key)
            except Exception as error:
                raise KeyError(f"{key!r}") from error
            element = self._indexed(tag)
            if element is not None:
                return element
            if tag | ABSENT in self._index_layout:
                raise KeyError(tag)
        with _lock_of(self):  # pydicom converts a raw element on first access
            return super().__getitem__(key)

    def __contains__(self, name: Any) -> bool:
        if not self._was_read:
            try:
                tag = Tag(name)
                if tag in self._index_layout:
                    return True
                if tag | ABSENT in self._index_layout:
                    return False
            except Exception:  # noqa: S110 - whatever Tag raises, pydicom has a warning of its own for it
                pass
            self._read()  # not left to pydicom, which takes a file that has gone for a tag that is wrong
        return super().__contains__(name)

    def __bool__(self) -> bool:
        return bool(self._index_layout) or len(self) > 0

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Dataset):
            return NotImplemented
        return self.keys() == other.keys() and all(self[tag] == other[tag] for tag in self.keys())

    __hash__ = None  # type: ignore[assignment]  # as every Dataset

    def __repr__(self) -> str:
        # pydicom's repr is the whole content: that would read the file, and put patient data into logs
        return f"{type(self).__name__}({self._path!r})"

    # -- copies -------------------------------------------------------------------------------------------

    def __copy__(self) -> LazyDataset:
        """Return a copy of its own: setting an attribute of one does not change the other."""
        with _lock_of(self):
            copied = self._untouched()
            if self._was_read:
                copied.__dict__.update(self.__dict__, _private_blocks={})
                copied._dict = {tag: copy.copy(element) for tag, element in self._dict.items()}
                copied._was_read = True
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyDataset:
        with _lock_of(self):
            copied = self._untouched()
            memo[id(self)] = copied
            if self._was_read:
                copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
                copied._was_read = True
        return copied

    def __reduce__(self) -> Any:
        with _lock_of(self):
            state = None
            if self._was_read:
                state = {**self.__dict__, "_private_blocks": {}, "_pixel_array": None, "_pixel_id": {}}
        return _restored, (type(self), self._path, self.index), state

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._was_read = True

    def _untouched(self, path: str | None = None) -> LazyDataset:
        made = type(self).__new__(type(self))
        _set(made, "_path", self._path if path is None else path)
        _set(made, "_was_read", False)
        _set(made, "_index_layout", self._index_layout)
        _set(made, "_index_values", self._index_values)
        return made


_Layout: TypeAlias = dict[int, tuple[int, str]]
"""Tag to its place among the values, and its VR; shared by all handles that index the same tags."""

_NO_LAYOUT: _Layout = {}


@lru_cache(maxsize=1024)
def _layout_of(tags: tuple[int, ...]) -> _Layout:
    known = [(int(tag), DicomDictionary[tag][0]) for tag in tags if tag in DicomDictionary]
    kept = [(tag, VR) for tag, VR in known if VR not in _NEVER_INDEXED]
    kept += [(int(tag), "") for tag in tags if tag >= STORED_BYTES]
    return {tag: (position, VR) for position, (tag, VR) in enumerate(kept)}


def _shared(tag: int, value: Any) -> Any:
    """Return a value that handles share where it is often the same: patient, study, series, modality."""
    kind = type(value)
    if kind is str:
        return value if tag == _SOP_INSTANCE_UID else _same_text(value)
    if kind is list or kind is tuple:
        if value and type(value[0]) is not float:  # coordinates are hardly ever the same
            return tuple([_same_text(each) if type(each) is str else each for each in value])
        return tuple(value)
    return value


@lru_cache(maxsize=16384)
def _same_text(text: str) -> str:
    return text


def _restored(kind: type[LazyDataset], path: str, index: dict[int, IndexedValue]) -> LazyDataset:
    made = kind.__new__(kind)
    LazyDataset.__init__(made, path, index)
    return made


# A lock a handle would cost a tenth of the handle; handles share these, and no handle is read inside
# another's lock.
_LOCKS = [threading.RLock() for _ in range(64)]


def _lock_of(handle: LazyDataset) -> threading.RLock:
    return _LOCKS[(id(handle) >> 5) % len(_LOCKS)]


def _renew_locks() -> None:
    """Give a forked child its own locks: one that another thread held would stay locked for ever."""
    _LOCKS[:] = [threading.RLock() for _ in range(len(_LOCKS))]


os.register_at_fork(after_in_child=_renew_locks)
