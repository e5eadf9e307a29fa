"""Elements whose value a function works out: once a series, or for each instance."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicomnode.dicom.elements.instance_element import InstanceElement
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.virtual_element import VirtualElement
from dicomnode.dicom.values.tags import TagLike
from dicomnode.errors import BlueprintError


class SeriesElement(VirtualElement):
    """A value that is worked out once a series and shared by its instances.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute.
    function : callable
        Any callable: function, bound method, ``functools.partial``, callable object. If it needs an argument
        it is given the source datasets (a tuple, in the header's order), otherwise nothing. It returns the
        value; ``None`` leaves the tag out.

    Raises
    ------
    BlueprintError
        When ``function`` is not callable or needs more than one argument.
    """

    def __init__(
        self,
        tag: TagLike,
        function: Callable[..., Any],
        VR: str | None = None,  # noqa: N803 - DICOM's own spelling
    ) -> None:
        super().__init__(tag, VR)
        self.function = function
        self.takes_sources = required_arguments(self, function, unknown=0) == 1

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> DataElement | None:  # noqa: ARG002 - not needed
        """Call the function and return its value as an element."""
        value = self.function(tuple(sources)) if self.takes_sources else self.function()
        return None if value is None else self.element(value)

    def _details(self) -> list[str]:
        return [name_of(self.function)]


class CallElement(InstanceElement):
    """A value that is worked out for each instance.

    Parameters
    ----------
    tag : str, int, (int, int) or PrivateTag
        The attribute.
    function : callable
        Called with the :class:`InstanceEnvironment`: zero-based ``index``, one-based ``instance_number``, the
        ``source`` dataset of that slice when there is one, the ``image``. It returns the value; ``None``
        leaves the tag out of that instance.

    Raises
    ------
    BlueprintError
        When ``function`` is not callable or needs more than one argument.

    Examples
    --------
    >>> CallElement("InstanceNumber", lambda instance: instance.instance_number).keyword
    'InstanceNumber'
    """

    def __init__(
        self,
        tag: TagLike,
        function: Callable[[InstanceEnvironment], Any],
        VR: str | None = None,  # noqa: N803 - DICOM's own spelling
    ) -> None:
        super().__init__(tag, VR)
        required_arguments(self, function, unknown=1)
        self.function = function

    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Call the function for one instance."""
        value = self.function(environment)
        return None if value is None else self.element(value)

    def _details(self) -> list[str]:
        return [name_of(self.function)]


def required_arguments(element: VirtualElement, function: Any, *, unknown: int) -> int:
    """Count the arguments a callable cannot do without; bound methods, partials and objects count right."""
    if not callable(function):
        raise BlueprintError(f"{element.keyword}: {function!r} is not callable")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return unknown
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.default is p.empty and p.kind in positional]
    keyword_only = [p.name for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    if len(required) > 1 or keyword_only:
        names = ", ".join([*(p.name for p in required), *keyword_only])
        raise BlueprintError(
            f"{element.keyword}: {name_of(function)} needs {names}; it is called with one argument"
        )
    return len(required)


def name_of(function: Any) -> str:
    """Return what to call a callable in a message or ``repr``."""
    return getattr(function, "__qualname__", None) or repr(function)
