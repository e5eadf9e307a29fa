"""The elements of a lazy dataset: answered from the host's index, or left on disk until touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement, empty_value_for_VR
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import DSfloat

TEXT_AS_IT_IS = frozenset({"AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"})
"""The VRs of which pydicom keeps a text as it is."""


def plain_element(tag: BaseTag, vr: str, value: Any) -> DataElement:
    """Return an element of a value that has been accepted before, so without validating it again."""
    return DataElement(tag, vr, value, validation_mode=IGNORE)


def _as_it_is(value: Any) -> Any:
    return value


def _plain_values(tag: BaseTag, vr: str, values: list[Any]) -> Any:
    return plain_element(tag, vr, values).value


class IndexedElement(DataElement):
    """An element made from the index of a dataset whose file has not been read.

    It is not kept: each request makes a new one, so that an untouched handle stays small. It becomes part of
    the dataset when it is changed.

    Parameters
    ----------
    tag : BaseTag
        The tag.
    vr : str
        What the dictionary gives the tag.
    value : object
        Plain data: str, int, float, None or a sequence of these.
    adopt : callable
        Makes the element that it is given part of the dataset, which reads the file.
    """

    def __init__(self, tag: BaseTag, vr: str, value: Any, adopt: Callable[[DataElement], None]) -> None:
        self._adopt: Callable[[DataElement], None] | None = None
        # pydicom would go over each text twice, and change none.
        texts = vr in TEXT_AS_IT_IS and are_texts(value)
        held = value if texts else _prepared(vr, value)
        super().__init__(tag, vr, held, already_converted=texts, validation_mode=IGNORE)
        if texts or isinstance(self._value, MultiValue):
            self._value = _IndexedValues(self, self._value)
        self._adopt = adopt

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("_value", "VR"):
            self.join()
        super().__setattr__(name, value)

    def join(self) -> None:
        """Become part of the dataset."""
        adopt = self.__dict__.get("_adopt")
        if adopt is not None:
            self._adopt = None
            adopt(self)

    def __eq__(self, other: Any) -> Any:
        if self is other:
            return True
        if not isinstance(other, DataElement):
            return NotImplemented
        return self.tag == other.tag and self.VR == other.VR and self.value == other.value

    __hash__ = None  # type: ignore[assignment]  # as every DataElement

    def __reduce__(self) -> Any:
        value = list(self.value) if isinstance(self.value, MultiValue) else self.value
        return plain_element, (self.tag, self.VR, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> DataElement:
        function, arguments = self.__reduce__()
        copied: DataElement = function(*arguments)
        memo[id(self)] = copied
        return copied


class _IndexedValues(MultiValue[Any]):
    """The values of an indexed element, which join the dataset with it when one of them is changed."""

    def __init__(self, element: IndexedElement, values: Iterable[Any]) -> None:
        self._element = element
        super().__init__(_as_it_is, values)  # they were converted with the element
        self._constructor = element._convert

    def __setitem__(self, index: Any, value: Any) -> None:
        self._element.join()
        super().__setitem__(index, value)

    def __delitem__(self, index: Any) -> None:
        self._element.join()
        super().__delitem__(index)

    def insert(self, position: int, value: Any) -> None:
        self._element.join()
        super().insert(position, value)

    def append(self, value: Any) -> None:
        self._element.join()
        super().append(value)

    def extend(self, values: Iterable[Any]) -> None:
        self._element.join()
        super().extend(values)

    def __iadd__(self, values: Iterable[Any]) -> _IndexedValues:
        self.extend(values)
        return self

    def sort(self, *args: Any, **options: Any) -> None:
        self._element.join()
        super().sort(*args, **options)

    def __reduce__(self) -> Any:
        return _plain_values, (self._element.tag, self._element.VR, list(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        function, arguments = self.__reduce__()
        return function(*arguments)


class LateTexts(_IndexedValues):
    """Several texts of the index, whose element is made when one of them is changed.

    Rules look at Image Type of every image, and change none: an element would take most of that time.

    Parameters
    ----------
    element : callable
        Makes the element.
    values : sequence of str
        The texts.
    """

    def __init__(self, element: Callable[[], IndexedElement], values: Iterable[str]) -> None:
        self._make: Callable[[], IndexedElement] | None = element
        MultiValue.__init__(self, _as_it_is, values)

    def __getattr__(self, name: str) -> Any:
        if name != "_element" or self._make is None:
            raise AttributeError(name)
        element, self._make = self._make(), None
        element.__dict__["_value"] = (
            self  # what is changed here is changed in the element, and in the dataset
        )
        self._element, self._constructor = element, element._convert
        return element


def are_texts(value: Any) -> bool:
    """Say whether a value of the index is several texts."""
    return type(value) is tuple and len(value) > 1 and set(map(type, value)) == {str}


class ElementOnDisk(DataElement):
    """An element, such as Pixel Data, whose value is read from the file when it is touched.

    Parameters
    ----------
    tag : BaseTag
        The tag.
    vr : str
        The VR.
    read : callable
        Returns the value; picklable.
    is_undefined_length : bool
        Whether the value is encapsulated (PS3.5 section A.4).
    """

    def __init__(
        self, tag: BaseTag, vr: str, read: Callable[[], bytes], *, is_undefined_length: bool
    ) -> None:
        self._read = read
        self._held: Any = None
        self._on_disk = True
        super().__init__(
            tag,
            vr,
            None,
            is_undefined_length=is_undefined_length,
            already_converted=True,
            validation_mode=IGNORE,
        )
        self._on_disk, self._held = True, None

    @property
    def _value(self) -> Any:
        held = self._held
        if held is None and self._on_disk:
            held = self._held = self._read()
        return held

    @_value.setter
    def _value(self, value: Any) -> None:
        self._held, self._on_disk = value, False

    def release(self) -> None:
        """Let go of the value, unless it has been changed."""
        if self._on_disk:
            self._held = None

    @property
    def released(self) -> bool:
        """Whether the value is on disk only."""
        return self._on_disk and self._held is None

    def __eq__(self, other: Any) -> Any:
        if self is other:
            return True
        if not isinstance(other, DataElement):
            return NotImplemented
        return self.tag == other.tag and self.VR == other.VR and self.value == other.value

    __hash__ = None  # type: ignore[assignment]  # as every DataElement

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self._on_disk:
            state["_held"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __deepcopy__(self, memo: dict[int, Any]) -> ElementOnDisk:
        # The value is bytes, which nobody can change: the copy may share it.
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(self.__dict__)
        return copied


def _prepared(vr: str, value: Any) -> Any:
    """Return index data in the form in which pydicom would have read it."""
    if value is None:
        return empty_value_for_VR(vr)
    if vr == "DS":
        values = value if isinstance(value, tuple | list) else (value,)
        made = [
            DSfloat(each, auto_format=True, validation_mode=IGNORE) for each in values if each is not None
        ]
        if len(made) == len(values):
            return made if len(made) > 1 else made[0]
    return list(value) if isinstance(value, tuple) else value
