"""How a hook says which attributes of an image it looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from dicomnode.dicom.values.tags import parse_tag

F = TypeVar("F", bound=Callable[..., object])

LOOKS_AT: Final = "dicomnode_looks_at"
"""The attribute of a function that holds the tags."""


def looks_at(*attributes: str | int) -> Callable[[F], F]:
    """Say which attributes of an image an implementation of ``dicomnode_validate_image`` looks at.

    They are read while the image is received. An implementation that does not say so makes the host open the
    file of every image.

    Parameters
    ----------
    *attributes : str or int
        Keywords or tags.

    Raises
    ------
    InvalidValueError
        When DICOM has no such attribute; a similar keyword is named.

    Examples
    --------
    >>> from dicomnode import hookimpl, looks_at
    >>> @hookimpl
    ... @looks_at("BurnedInAnnotation")
    ... def dicomnode_validate_image(image):
    ...     if image.get("BurnedInAnnotation") == "YES":
    ...         return "images with burned-in annotation are not processed here"
    """
    tags = frozenset(int(parse_tag(each)[0]) for each in attributes)

    def mark(function: F) -> F:
        setattr(function, LOOKS_AT, tags)
        return function

    return mark
