"""A host without disk, network and clock that carries out what the state machine of gathering decides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from dicomnode.host.gathering.messages import (
    Assessment,
    AssociationEnded,
    Done,
    Drop,
    EarlierJob,
    EarlierState,
    Event,
    Hold,
    HoldKind,
    ImageStored,
    Join,
    Joined,
    Member,
    Policy,
    Restored,
    RunAgain,
    StartJob,
)
from dicomnode.host.gathering.state_machine import Gathering

SETTLE, WAIT = 5.0, 120.0
UNLIMITED = 10_000.0


@dataclass
class Job:
    """A job of the pretended host."""

    number: int
    key: str
    images: dict[str, str]
    """SOP Instance UID -> series."""
    why: str
    ordered: bool = False
    state: EarlierState = EarlierState.UNBUILT
    runs: int = 1
    superseded: bool = False

    @property
    def uids(self) -> frozenset[str]:
        """Its images."""
        return frozenset(self.images)

    @property
    def series(self) -> frozenset[str]:
        """Their series."""
        return frozenset(self.images.values())


@dataclass
class PretendedHost:
    """Carries out what the machine decides, as the host does, and checks that it can be carried out."""

    policy: Policy = field(default_factory=lambda: Policy(SETTLE, WAIT))
    incomplete: set[str] = field(default_factory=set)
    """Keys of containers whose inputs say that they are not complete."""
    expected: dict[str, int] = field(default_factory=dict)
    """Key -> the number of images that proves that a container is whole."""
    fetched: frozenset[str] = frozenset()
    """Earlier images that the host has fetched."""
    one_series: bool = False
    """Whether a job takes one series, and nobody chooses one."""
    now: float = 0.0

    def __post_init__(self) -> None:
        self.waiting: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.jobs: list[Job] = []
        self.holds: list[Hold] = []
        self.dropped: list[Drop] = []
        self.start()

    def start(self) -> None:
        """Make the machine anew, as a start of the host does."""
        self.machine = Gathering(self.policy, self.assess, self.earlier, can_join=self.can_join)

    # -- what the machine asks ----------------------------------------------------------------------------

    def assess(self, key: str) -> Assessment:
        """Return what the inputs say."""
        held = tuple(self.waiting[key])
        proven = self.expected.get(key) == len(held)
        missing = "not complete" if key in self.incomplete else ""
        if key in self.expected and not proven:
            missing = f"{len(held)} of {self.expected[key]} images"
        if self.one_series and len(set(self.waiting[key].values())) > 1:
            missing = "several series fit, and a job takes one"
        if not held:
            missing = "no image"
        return Assessment({"images": held}, missing, "counted" if proven else "", fetched=self.fetched)

    def earlier(self, key: str) -> list[EarlierJob]:
        """Return the jobs of a container, the newest first."""
        return [
            EarlierJob(job.number, job.state, job.uids, self.sent_series(job))
            for job in reversed(self.jobs)
            if job.key == key and not job.superseded
        ]

    def sent_series(self, job: Job) -> frozenset[str]:
        """Return the series of those of its images that were not fetched."""
        return frozenset(series for uid, series in job.images.items() if uid not in self.fetched)

    def can_join(self, key: str, number: int) -> bool:
        """Say whether the images of a job and those that wait can go into one job."""
        series = self.jobs[number - 1].series.union(self.waiting[key].values())
        return bool(self.waiting[key]) and not (self.one_series and len(series) > 1)

    # -- what it decides ----------------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """Hand an event to the machine, and carry out what it decides."""
        self.carry_out(self.machine.handle(event, self.now))

    def carry_out(self, decisions: Collection[object]) -> None:
        """Do what was decided, as far as a host can: of an image either a container or a job has the file."""
        for decision in decisions:
            match decision:
                case StartJob(key, inputs):
                    assert decision.uids <= self.waiting[key].keys(), "it starts what does not wait"
                    images = {uid: self.waiting[key][uid] for uid in inputs["images"]}
                    assert images, "a job of nothing"
                    number = len(self.jobs) + 1
                    self.jobs.append(Job(number, key, images, decision.why, decision.ordered))
                    self.gone(key, decision.uids)
                case RunAgain(key, number, uids):
                    self.run_again(self.jobs[number - 1], uids)
                    self.gone(key, uids)
                case Join(key, number):
                    job = self.jobs[number - 1]
                    assert job.state in {EarlierState.UNBUILT, EarlierState.FAILED}
                    assert not job.superseded
                    job.superseded = True
                    self.waiting[key].update(job.images)
                    self.tell(Joined(key, tuple(Member(*each) for each in job.images.items())))
                case Drop(key, uids):
                    self.dropped.append(decision)
                    self.gone(key, uids)
                case Hold():
                    self.holds.append(decision)

    def run_again(self, job: Job, uids: Collection[str]) -> None:
        """Run a job again: a failed one with the images that it has, another with those that came again."""
        assert not job.superseded
        if job.state is EarlierState.FAILED:
            assert not job.uids & self.waiting[job.key].keys()
        else:
            assert job.state is EarlierState.ENDED
            came_again = self.waiting[job.key].keys() & set(uids)
            assert job.uids <= came_again, "it runs again on a part of its images"
        job.runs, job.state = job.runs + 1, EarlierState.UNBUILT

    def gone(self, key: str, uids: Collection[str]) -> None:
        """Take images out of the tree, and say so."""
        for uid in uids:
            self.waiting[key].pop(uid, None)
        self.tell(Done(key, frozenset(uids)))

    # -- what happens to it -------------------------------------------------------------------------------

    def store(self, key: str, uid: str, association: str, series: str = "") -> None:
        """Take an image as the host does: known ones of a job that is not over are nothing new."""
        series = series or key
        job = self.job_with(uid)
        if job is not None and not job.state.is_over:
            return
        number = None if job is None or job.state is EarlierState.ENDED else job.number
        if number is None:
            self.waiting[key][uid] = series
        self.tell(ImageStored(key, Member(uid, series, number), association))

    def job_with(self, uid: str) -> Job | None:
        """Return the job that has the file of an image, or had it last."""
        having = [job for job in self.jobs if uid in job.images and not job.superseded]
        here = [job for job in having if job.state is not EarlierState.ENDED]
        return next(reversed(here or having), None)

    def end(self, association: str, *, released: bool) -> None:
        """End an association."""
        self.tell(AssociationEnded(association, released))

    def restart(self, released: Collection[str]) -> None:
        """Start anew, with what waits; of these containers the last association was released."""
        self.start()
        for key, held in {key: dict(held) for key, held in self.waiting.items() if held}.items():
            members = tuple(Member(*each) for each in held.items())
            cut = frozenset() if key in released else frozenset(held.values())
            self.tell(Restored(key, members, interrupted=cut))

    def advance(self, seconds: float) -> None:
        """Let time pass, with a look at each moment that the machine has asked for."""
        until = self.now + seconds
        while (due := self.machine.due()) is not None and due <= until:
            self.now = max(self.now, due)
            before = self.machine.due()
            self.carry_out(self.machine.tick(self.now))
            assert self.machine.due() != before or self.machine.due() is None or before > self.now
        self.now = until

    def hold_of(self, key: str) -> HoldKind | None:
        """Return why a container is held."""
        view = self.machine.view(key, self.now)
        return None if view is None or view.hold is None else view.hold.kind


def names(key: str, count: int) -> list[str]:
    """Return SOP Instance UIDs."""
    return [f"{key}.{number}" for number in range(count)]


def send(
    host: PretendedHost, key: str, uids: Collection[str], association: str, *, released: bool = True
) -> None:
    """Send images over one association, a tenth of a second apart."""
    for uid in uids:
        host.store(key, uid, association)
        host.advance(0.1)
    host.end(association, released=released)
