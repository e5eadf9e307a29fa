"""One pipeline on a folder of files: received, gathered, processed, delivered; by a virtual clock.

Everything that decides is the host's own: reception, gathering, jobs, scheduler and outbox. Only the
network is left out, and the time of day.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import Config, PipelineTable
from dicomnode.host.configuration.configured_pipeline import EnvironmentResolver, configure_pipelines
from dicomnode.host.configuration.references import FILE_SCHEME
from dicomnode.host.foundation.events import Event, Station
from dicomnode.host.jobs.job_folder import read_manifest
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.host.ledger.states import JobState
from dicomnode.host.simulation.sender import Sender
from dicomnode.host.simulation.sending import SendingOptions, steps
from dicomnode.host.simulation.simulated_host import SimulatedHost
from dicomnode.plugins.registry import Registry

_IMAGE = 0.05
"""Virtual seconds that an image takes."""
_MOST_TURNS = 10_000
_UNDER_WAY = (JobState.QUEUED, JobState.RUNNING, JobState.BUILT)
_REPORTED_OTHERWISE = {Station.RECEIVED, Station.REFUSED, Station.ASSOCIATION}
"""What the lines of images and associations say themselves."""


@dataclass
class Simulated:
    """What a simulation gave, as plain data.

    Attributes
    ----------
    pipeline, ae_title, plugin : str
        What was simulated.
    skipped : list of str
        Files that are not DICOM.
    timeline : list of dict
        In order, each with ``at`` (virtual seconds): images (``image``), ends of associations (``ends``), and
        what the host reported (``event``).
    jobs : list of dict
        Each with its inputs, why it was started, state, reason, log, warnings of the checks and results.
    waiting : list of dict
        Containers that were left waiting, each with what is missing, the kind of reason for which it is held,
        and that reason in words.
    """

    pipeline: str
    ae_title: str
    plugin: str
    skipped: list[str] = field(default_factory=list)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether there was a job, and every one was delivered."""
        return bool(self.jobs) and all(job["state"] == JobState.DELIVERED for job in self.jobs)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**vars(self), "succeeded": self.succeeded}


class Simulation:
    """A host for one pipeline in a temporary directory, without network.

    Parameters
    ----------
    config : Config
        The configuration; of it counts what it says of the pipeline, of plugins and of resources.
    pipeline : str
        The pipeline's name in the configuration, or of an installed one.
    root : pathlib.Path
        An empty directory.
    environments : EnvironmentResolver
        Makes pipelines of other environments.
    out : pathlib.Path, optional
        Where results are put.
    in_process : bool
        Whether jobs run in this process, for a debugger, instead of in a worker.

    Raises
    ------
    ConfigurationError
        When the pipeline cannot be had.
    """

    def __init__(
        self,
        config: Config,
        pipeline: str,
        root: Path,
        environments: EnvironmentResolver,
        *,
        out: Path | None = None,
        in_process: bool = False,
    ) -> None:
        table = (config.pipelines or {}).get(pipeline, PipelineTable())
        destinations = (f"{FILE_SCHEME}results",) if table.destinations is None else table.destinations
        once = table.model_copy(update={"attempts": 1, "destinations": destinations})
        host = config.host.model_copy(update={"data": root, "durability": "process", "reserve": 0})
        alone = config.model_copy(update={"host": host, "pipelines": {pipeline: once}})
        registry = Registry(config.plugins.disabled, config.plugins.only)
        (configured,) = configure_pipelines(alone, registry, environments)
        self._changed = threading.Condition()
        self._host = SimulatedHost(
            alone,
            configured,
            registry,
            out=out,
            in_process=in_process,
            hear=self._hear,
            job_changed=self._job_changed,
        )
        whose = f"{configured.registration.distribution} {configured.registration.version}"
        self._simulated = Simulated(pipeline, configured.ae_title, whose)

    def run(self, folder: Path, options: SendingOptions) -> Simulated:
        """Send the files of a folder, let time pass until nothing is due any more, and tell what happened.

        Raises
        ------
        ConfigurationError
            When the folder has no DICOM file.
        """
        with self._host as host:
            sender = Sender(host)
            found, others = sender.find(folder)
            self._simulated.skipped = [str(path) for path in others]
            if not found:
                msg = f"there is no DICOM file in {folder}"
                raise ConfigurationError(msg)
            for association, file in steps(found, options):
                step: dict[str, Any] = {"association": association.number}
                if file is not None:
                    self._pass(_IMAGE)
                    self._note({"image": str(file.path), **step, **sender.send(association, file)})
                else:
                    self._note({"ends": "aborted" if association.aborted else "released", **step})
                    sender.end(association)
                    self._pass(options.gap)
            self._pass(None)
            self._report()
        return self._simulated

    # -- time ---------------------------------------------------------------------------------------------

    def _pass(self, seconds: float | None) -> None:
        """Let time pass (``None``: until nothing is due any more), and do what is due on the way."""
        clock = self._host.clock
        until = None if seconds is None else clock.seconds + seconds
        for _ in range(_MOST_TURNS):
            wait = self._settle()
            if wait is None or (until is not None and clock.seconds + wait > until):
                break
            clock.advance(wait)
        if until is not None:
            clock.advance(max(0.0, until - clock.seconds))

    def _settle(self) -> float | None:
        """Do what is due, and wait for the jobs of it; return the seconds until something else is."""
        wait = self._host.due.run_due()
        ledger = self._host.ledger
        ledger.flush()
        with self._changed:
            self._changed.wait_for(lambda: not ledger.jobs(*_UNDER_WAY))
        return wait

    def _job_changed(self, job: JobRecord) -> None:  # noqa: ARG002 - as the hook
        with self._changed:
            self._changed.notify_all()

    # -- what happened ------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        if event.station not in _REPORTED_OTHERWISE:
            entry = {"event": event.message, "station": event.station.value, "detail": event.detail}
            self._note({**entry, "job": event.job, "level": event.level})

    def _note(self, entry: dict[str, Any]) -> None:
        self._simulated.timeline.append({"at": round(self._host.clock.seconds, 3), **entry})

    def _report(self) -> None:
        host = self._host
        self._simulated.jobs = [self._job(job) for job in host.ledger.jobs()]
        views = host.gatherer.views(host.tree)
        for container_key, inputs in host.tree.counts().items():
            missing = host.tree.missing(container_key)
            view = views.get(container_key)
            hold = None if view is None else view.hold
            self._simulated.waiting.append(
                {
                    "container_key": container_key,
                    "inputs": inputs,
                    "missing": missing,
                    "held": None if hold is None else hold.kind.value,
                    "waits_for": missing if hold is None else hold.why,
                }
            )

    def _job(self, job: JobRecord) -> dict[str, Any]:
        inputs: dict[str, int] = {}
        for row in self._host.ledger.instances(job=job.id):
            for name in row.inputs:
                inputs[name] = inputs.get(name, 0) + 1
        report: dict[str, Any] = {
            "job": job.id,
            "container_key": job.container_key,
            "inputs": inputs,
            "started_because": self._host.ledger.start_reason(job.id),
            "state": job.state,
            "reason": job.reason,
            "log": job.log,
            "warnings": [],
            "results": [],
        }
        if job.folder:
            report["warnings"] = list(read_manifest(self._host.data.outbox / job.folder).warnings)
            report["results"] = self._results(job)
        return report

    def _results(self, job: JobRecord) -> list[dict[str, Any]]:
        """Return each thing that the job made once, with where it went."""
        found: dict[str, dict[str, Any]] = {}
        for delivery in self._host.ledger.deliveries(job=job.id):
            item = delivery.item
            result = found.setdefault(
                item["path"],
                {
                    **{name: item[name] for name in ("output", "SOPInstanceUID", "SOPClassUID", "file_name")},
                    "destinations": [],
                },
            )
            result["destinations"].append(delivery.destination)
        return list(found.values())
