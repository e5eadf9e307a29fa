"""What has gathered is compared with the earlier jobs of its container: new, the same, a part, or late."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dicomnode.host.gathering.messages import (
    Assessment,
    EarlierJob,
    EarlierState,
    Hold,
    HoldKind,
    Join,
    Member,
    Policy,
    RunAgain,
    StartJob,
)

_INCOMPLETE: Final = "its inputs are not complete yet"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What has gathered in a container for which nothing more is waited for.

    Attributes
    ----------
    container_key : str
    members : mapping of str to Member
        Its images by SOP Instance UID: also those of which a failed job has the files.
    assessment : Assessment
        What its inputs say.
    why : str
        Why it is looked at: what a job of it rests on.
    """

    container_key: str
    members: Mapping[str, Member]
    assessment: Assessment
    why: str

    @property
    def uids(self) -> frozenset[str]:
        """All images."""
        return frozenset(self.members)

    @property
    def in_tree(self) -> frozenset[str]:
        """The images that are in the tree: all but those of which a failed job has the files."""
        return frozenset(uid for uid, member in self.members.items() if member.job is None)

    @property
    def sent(self) -> frozenset[str]:
        """The images in the tree that the host has not fetched: those alone are late, or come again."""
        return self.in_tree - self.assessment.fetched

    @property
    def series(self) -> frozenset[str]:
        """Their Series Instance UIDs."""
        return frozenset(self.members[uid].SeriesInstanceUID for uid in self.sent)

    @property
    def failed_jobs(self) -> set[int]:
        """The failed jobs that have files of it."""
        return {member.job for member in self.members.values() if member.job is not None}

    def start(self, why: str = "", *, ordered: bool = False) -> StartJob:
        """Start a job of what its inputs have chosen."""
        inputs = self.assessment.inputs
        left_out = self.in_tree - self.assessment.uids
        return StartJob(self.container_key, inputs, left_out, why or self.why, ordered)

    def hold(self, why: str, kind: HoldKind, summary: str = "") -> Hold:
        """Hold it; `summary` is why in words that name no patient, where `why` may."""
        return Hold(self.container_key, why, kind, summary or why)


class Comparison:
    """Compares what has gathered with the earlier jobs of its container.

    * The same images: that job runs again, under its own UIDs.
    * A part of a job's, alone or with others: nothing runs.
    * All of a job's, and more: a new job.
    * Others than a job's, of the same group: they are late.

    Parameters
    ----------
    policy : Policy
    gathered : Gathered
    earlier : sequence of EarlierJob
        The newest first.
    identity, can_join : callable
        As of :class:`~dicomnode.host.gathering.state_machine.Gathering`.
    """

    def __init__(
        self,
        policy: Policy,
        gathered: Gathered,
        earlier: Sequence[EarlierJob],
        identity: Callable[[str, Collection[str]], str],
        can_join: Callable[[str, int], bool],
    ) -> None:
        self._policy, self._gathered, self._earlier = policy, gathered, earlier
        self._identity, self._can_join = identity, can_join

    def decide(self) -> StartJob | RunAgain | Join | Hold:
        """Return what is to be done."""
        return (
            self._part()
            or self._failed()
            or (self._incomplete() if self._gathered.assessment.missing else self._complete())
        )

    def _part(self) -> Hold | None:
        own = self._gathered.uids
        for job in self._earlier:
            if own < job.uids or (own == job.uids and not job.state.is_over):
                count = f"{len(own)} of its {len(job.uids)} images"
                return self._gathered.hold(f"it is a part of job {job.number}: {count}", HoldKind.PART)
        return None

    def _failed(self) -> RunAgain | Join | None:
        """Decide about a failed job all of whose images came again: their files are not in the tree yet."""
        gathered = self._gathered
        own, of_failed = gathered.uids, gathered.failed_jobs
        for job in self._earlier:
            if job.number in of_failed and job.uids <= own:
                again = f"the images of job {job.number} came again"
                if own != job.uids and self._starts_with(job):
                    return Join(gathered.container_key, job.number, f"{again}, with more")
                return RunAgain(gathered.container_key, job.number, job.uids, again)
        return None

    def _incomplete(self) -> Hold | Join:
        """Hold what is not complete, unless it may join a job: with the images of that it may be."""
        gathered, assessment = self._gathered, self._gathered.assessment
        if assessment.raised:
            return gathered.hold(assessment.missing, HoldKind.CHECK_FAILED, assessment.raised)
        for job in self._earlier if self._policy.late_images == "join" else ():
            if self._is_of_group(job, gathered.series) and self._can_be_joined(job):
                return self._join(job)
        return gathered.hold(assessment.missing, HoldKind.INCOMPLETE, _INCOMPLETE)

    def _complete(self) -> StartJob | RunAgain | Join | Hold:
        gathered = self._gathered
        chosen = gathered.assessment.uids
        for job in self._earlier:
            if chosen == job.uids and job.identity == self._identity(gathered.container_key, chosen):
                if job.state.is_over:
                    again = f"the images of job {job.number} came again"
                    return RunAgain(gathered.container_key, job.number, gathered.in_tree, again)
                return gathered.hold(f"job {job.number} of the same images is not over", HoldKind.PART)
        others = [job for job in self._earlier if not chosen >= job.uids]
        for job in others:
            if came := chosen & gathered.sent & job.uids:
                count = f"{len(came)} of the {len(job.uids)} images of job {job.number}"
                return gathered.hold(f"{count} came again, with others", HoldKind.PART)
        for job in others:
            if self._is_of_group(job, gathered.series):
                return self._late(job)
        return gathered.start()

    def _late(self, job: EarlierJob) -> StartJob | Join | Hold:
        late_images, gathered = self._policy.late_images, self._gathered
        if late_images == "new":
            return gathered.start(f"{gathered.why}; late for job {job.number}")
        if late_images == "join" and self._can_be_joined(job):
            return self._join(job)
        same = "container" if self._policy.one_group_a_container else "series"
        why = f"they came after job {job.number} of the same {same} had started"
        if late_images == "join" and job.state is EarlierState.UNBUILT:
            why = f"{why}, and cannot go into one job with its images"
        return gathered.hold(why, HoldKind.LATE)

    # -- joining ------------------------------------------------------------------------------------------

    def _join(self, job: EarlierJob) -> Join:
        why = f"images came late for job {job.number}, and join it"
        return Join(self._gathered.container_key, job.number, why)

    def _can_be_joined(self, job: EarlierJob) -> bool:
        return job.state is EarlierState.UNBUILT and self._starts_with(job)

    def _starts_with(self, job: EarlierJob) -> bool:
        """Say whether what waits would start a job together with the images of one: it ends for that."""
        gathered = self._gathered
        both, series = gathered.in_tree | job.uids, gathered.series | job.series
        for other in self._earlier:
            if other is job or both >= other.uids:
                continue
            late = self._policy.late_images != "new" and self._is_of_group(other, series)
            if late or gathered.sent & other.uids:
                return False
        return self._can_join(gathered.container_key, job.number)

    def _is_of_group(self, job: EarlierJob, series: Collection[str]) -> bool:
        """Say whether images of these series belong to the group of a job's."""
        return self._policy.one_group_a_container or not job.series.isdisjoint(series)
