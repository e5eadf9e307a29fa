"""What outputs know of where they go: the seam between an output and the host that delivers it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One thing to deliver: a file in the outbox and what is needed to hand it over.

    Attributes
    ----------
    output : str
        The entry-point name of the :class:`PipelineOutput` that wrote it.
    path : pathlib.Path
        The file in the outbox.
    SOPInstanceUID, SOPClassUID, TransferSyntaxUID : str
        Of a DICOM instance; empty for other files.
    folders : tuple of str
        The names of the folders below a folder destination in which the file goes. The destination makes them
        safe. Without any it goes into its job's own: the pipeline's name, then the patient container's.
    file_name : str
        The file's name at a folder destination. The destination makes it safe.
    destinations : tuple of str, or None
        Where it goes; ``None`` for what the pipeline is configured with.
    """

    output: str
    path: Path
    SOPInstanceUID: str = ""
    SOPClassUID: str = ""
    TransferSyntaxUID: str = ""
    folders: tuple[str, ...] = ()
    file_name: str = ""
    destinations: tuple[str, ...] | None = None

    def to_json(self, root: Path) -> dict[str, Any]:
        """Return plain data, the path relative to ``root``."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        plain["path"] = str(self.path.relative_to(root))
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any], root: Path) -> OutboxItem:
        """Return the item that :meth:`to_json` made plain."""
        destinations = plain["destinations"]
        return cls(
            **{
                **plain,
                "path": root / plain["path"],
                "folders": tuple(plain["folders"]),
                "destinations": None if destinations is None else tuple(destinations),
            }
        )


class Delivery(Enum):
    """What became of one attempt to deliver one item."""

    CONFIRMED = "confirmed"
    """The destination has it (with or without a warning)."""
    STORED = "stored"
    """A peer has it, and was asked to commit to it (PS3.4 annex J): confirmed once it does."""
    LATER = "later"
    """Not now, or the outcome is unknown: the same item is sent again."""
    REFUSED = "refused"
    """The destination will never take it: a dead letter."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one attempt, with its reason in words and the C-STORE status where there was one."""

    delivery: Delivery
    reason: str = ""
    status: int | None = None


class Destination(Protocol):
    """Somewhere that results go: a peer, or a folder."""

    @property
    def name(self) -> str:
        """The name in the configuration."""

    @property
    def takes_files(self) -> bool:
        """Whether it takes files that are not DICOM."""

    def send(self, items: Sequence[OutboxItem]) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Hand items over, and report each as soon as its outcome is known.

        What is not reported is tried again. The iterator may be closed before its end; what it holds open (an
        association, say) is ended properly then.

        Raises
        ------
        DeliveryError
            When the destination cannot be used at all now. Nothing is sent to it for a while, and it counts
            as no attempt of an item.
        """

    def break_off(self) -> None:
        """End at once what is being sent; called from another thread when the host cannot wait any longer."""
