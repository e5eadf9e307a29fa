"""What an element is given for each instance, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.dicom.values.equipment import Equipment


class HeaderLike(Protocol):
    """What an element may ask of the header that its instance is made from.

    :class:`.SeriesHeader` is one. It is made of elements, so they know no more of it than this.
    """

    @property
    def shared(self) -> Dataset:
        """The elements that are equal for all instances."""

    @property
    def sources(self) -> tuple[Dataset, ...]:
        """The source datasets, sorted by geometry."""

    @property
    def equipment(self) -> Equipment | None:
        """The software that makes the result."""


@dataclass(frozen=True)
class InstanceEnvironment:
    """What is known of one instance while its dataset is built.

    Parameters
    ----------
    index : int
        Zero-based place of the instance in the result series.
    instance_number : int
        One-based place, ``index + 1``.
    source : Dataset or None
        The source instance at the same place in space, ``None`` where there is none.
    image : ndarray or None
        The slice in physical units, shape (rows, columns) or (rows, columns, samples); (frames, rows,
        columns) for a multi-frame instance.
    pixels : ndarray or None
        The same slice as it is stored in Pixel Data.
    header : HeaderLike or None
        The header that the instance is made from, a :class:`.SeriesHeader`.
    factory : object
        The factory that builds the instance.
    total : int
        How many instances the series has.
    """

    index: int
    instance_number: int
    source: Dataset | None = None
    image: NDArray[Any] | None = None
    pixels: NDArray[Any] | None = None
    header: HeaderLike | None = None
    factory: Any = None
    total: int = 1


@dataclass(frozen=True, slots=True)
class PreparedElement:
    """An element whose bytes are known before it is made.

    Parameters
    ----------
    tag : BaseTag
        The tag.
    encoded : bytes
        The whole element in Explicit VR Little Endian; ASCII, so the same in every character set.
    make : callable
        Returns the element itself, a new one each time.
    """

    tag: BaseTag
    encoded: bytes
    make: Callable[[], DataElement | None]


class InstanceProducer(ABC):
    """Makes one element for each instance of a series, when the instance is known."""

    tag: BaseTag
    creator: str | None

    @abstractmethod
    def produce(self, environment: InstanceEnvironment) -> DataElement | None:
        """Make the element of one instance, or ``None`` to leave the tag out of that instance.

        Parameters
        ----------
        environment : InstanceEnvironment
            The instance.

        Returns
        -------
        DataElement or None
            With the nominal tag; :meth:`.SeriesHeader.instance` moves a private one
            into its block.
        """


def prepared(producer: InstanceProducer, environment: InstanceEnvironment) -> PreparedElement | None:
    """Return what a producer can give as bytes at once; ``None`` where it has to produce.

    Parameters
    ----------
    producer : InstanceProducer
        One with a method ``prepare``, or any other.
    environment : InstanceEnvironment
        The instance.
    """
    prepare = getattr(producer, "prepare", None)
    return None if prepare is None else prepare(environment)
