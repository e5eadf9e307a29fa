"""What the state machine of gathering is given and decides: policy, events and decisions, plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Literal, TypeAlias

# -- how the machine is set ---------------------------------------------------------------------------------

LateImages = Literal["hold", "new", "join"]
"""What becomes of new images that come after a job of their container has started."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a container waits, and what becomes of late images.

    Attributes
    ----------
    settle : float
        Seconds after the end of its last association.
    open_association_wait : float
        Seconds for which an open association holds a container back after the last image that it brought.
    expires : float, optional
        Seconds after its last image after which what waits is dropped; ``None`` for never.
    late_images : {"hold", "new", "join"}
        What becomes of new images that come after a job of their container has started.
    one_group_a_container : bool
        Whether all images of a container belong together by its key alone (containers by series or study);
        else images are late only if a series of theirs was in the earlier job.
    retry : float
        Seconds after which a decision that could not be carried out is made again.
    """

    settle: float = 5.0
    open_association_wait: float = 120.0
    expires: float | None = None
    late_images: LateImages = "hold"
    one_group_a_container: bool = True
    retry: float = 10.0


# -- what the machine is told --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """An image of a container.

    Attributes
    ----------
    SOPInstanceUID, SeriesInstanceUID : str
    job : int, optional
        The failed job that has its file, where it came again after that: then it is not in the tree.
    """

    SOPInstanceUID: str
    SeriesInstanceUID: str
    job: int | None = None


@dataclass(frozen=True, slots=True)
class ImageStored:
    """An image is durable and in the tree, or came again as it is there.

    Attributes
    ----------
    container_key : str
    member : Member
    association : str
        The id of the association that brought it; empty where none of a sender did: the host itself has
        fetched it.
    """

    container_key: str
    member: Member
    association: str = ""


@dataclass(frozen=True, slots=True)
class AssociationEnded:
    """An association is over.

    Attributes
    ----------
    association : str
    released : bool
        Whether its requestor released it; else it was aborted, lost, or cut off by a stop of this host.
    """

    association: str
    released: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """A container waited already when the host was started.

    Attributes
    ----------
    container_key : str
    members : tuple of Member
    interrupted : frozenset of str
        The series of which an association was aborted or cut off, by the stop of the host too, and none that
        was released brought an image since.
    age : float
        Seconds since its last image, by the wall clock.
    """

    container_key: str
    members: tuple[Member, ...]
    age: float = 0.0
    interrupted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class InputsChanged:
    """Something else than an image may have completed a container: a peer that said how many there are."""

    container_key: str


@dataclass(frozen=True, slots=True)
class ImagesRemoved:
    """Images are in the container no more: another took the place of one, or they were lost."""

    container_key: str
    uids: frozenset[str]


@dataclass(frozen=True, slots=True)
class ProcessOrdered:
    """The operator starts a container as it is."""

    container_key: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReleaseOrdered:
    """The operator drops a container."""

    container_key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Joined:
    """The images of an earlier job wait again in the container, as :class:`Join` has decided.

    Attributes
    ----------
    container_key : str
    members : tuple of Member
    """

    container_key: str
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """A decision was carried out: its images are in the container no more."""

    container_key: str
    uids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Failed:
    """A decision could not be carried out now: the ledger cannot be written, say. It is made again later."""

    container_key: str
    reason: str


Event: TypeAlias = (
    ImageStored
    | AssociationEnded
    | Restored
    | InputsChanged
    | ImagesRemoved
    | ProcessOrdered
    | ReleaseOrdered
    | Joined
    | Done
    | Failed
)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the inputs of a container say of it as it is now.

    Attributes
    ----------
    inputs : mapping of str to tuple of str
        Input -> SOP Instance UIDs that a job would get.
    missing : str
        What holds it back, in words; empty where every input is complete.
    proof : str
        What proves that every input is whole, in words; empty where nothing does.
    raised : str
        Whose code raised what, in words that name no patient; empty where none did.
    fetched : frozenset of str
        The SOP Instance UIDs of earlier images that the host has fetched: jobs share them.
    """

    inputs: Mapping[str, tuple[str, ...]]
    missing: str = ""
    proof: str = ""
    raised: str = ""
    fetched: frozenset[str] = frozenset()

    @property
    def uids(self) -> frozenset[str]:
        """The images of all inputs."""
        return frozenset(uid for uids in self.inputs.values() for uid in uids)


class EarlierState(Enum):
    """What an earlier job is to new images of its container."""

    UNBUILT = "unbuilt"
    """Queued, running, or to be tried again: late images can still join it."""
    BUILT = "built"
    """It has a result, which is being delivered."""
    FAILED = "failed"
    """Failed for good, or undeliverable: it can run again, with the images that it has still."""
    ENDED = "ended"
    """Delivered or discarded: it can run again when its images have come again."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it by itself."""
        return self in {EarlierState.FAILED, EarlierState.ENDED}


@dataclass(frozen=True, slots=True)
class EarlierJob:
    """A job of the same container that the ledger remembers.

    Attributes
    ----------
    number : int
    state : EarlierState
    uids : frozenset of str
        The SOP Instance UIDs of its inputs.
    series : frozenset of str
        Their series, without those that the host has fetched.
    identity : str
        What the UIDs of its result derive from.
    """

    number: int
    state: EarlierState
    uids: frozenset[str]
    series: frozenset[str]
    identity: str = ""


# -- what the machine decides --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartJob:
    """Make a job of these images.

    Attributes
    ----------
    container_key : str
    inputs : mapping of str to tuple of str
        Input -> SOP Instance UIDs.
    left_out : frozenset of str
        Images of the container that the job does not get: series that were not chosen.
    why : str
        What the decision rests on, for `trace`.
    ordered : bool
        Whether the operator has said so.
    """

    container_key: str
    inputs: Mapping[str, tuple[str, ...]]
    left_out: frozenset[str]
    why: str
    ordered: bool = False

    @property
    def uids(self) -> frozenset[str]:
        """The images that leave the container by it."""
        return self.left_out.union(*self.inputs.values())


@dataclass(frozen=True, slots=True)
class RunAgain:
    """Run an earlier job again: the same images have come again.

    Attributes
    ----------
    container_key : str
    job : int
    uids : frozenset of str
        The images of the container, which become the job's.
    why : str
    """

    container_key: str
    job: int
    uids: frozenset[str]
    why: str


@dataclass(frozen=True, slots=True)
class Join:
    """Let the images of an earlier job wait again, together with those that came after it; the job ends.

    Answered by :class:`Joined`, or by :class:`Failed` where it cannot be done.

    Attributes
    ----------
    container_key : str
    job : int
    why : str
    """

    container_key: str
    job: int
    why: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Release the images of a container: the operator said so, or it has expired.

    Attributes
    ----------
    container_key : str
    uids : frozenset of str
    why : str
    ordered : bool
        Whether the operator has said so.
    """

    container_key: str
    uids: frozenset[str]
    why: str
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Start nothing, and say why. Decided once for each reason.

    Attributes
    ----------
    container_key : str
    why : str
        It may name a patient.
    kind : HoldKind
    summary : str
        The same in words that name no patient.
    """

    container_key: str
    why: str
    kind: HoldKind
    summary: str = ""


class HoldKind(StrEnum):
    """Why a container is held."""

    INCOMPLETE = "incomplete"
    """An input is not complete."""
    CHECK_FAILED = "check failed"
    """The code of an input, or of a hook, raised when it was asked."""
    INTERRUPTED = "interrupted"
    """An association was aborted or cut off, and nothing has made up for it."""
    PART = "part"
    """It is a part of what an earlier job had."""
    LATE = "late"
    """A job of the container has started already."""
    FAILED = "failed"
    """A decision could not be carried out."""


Decision: TypeAlias = StartJob | RunAgain | Join | Drop | Hold
