"""What the demonstration shows while images pass: a line a station."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from dicomnode.errors import DicomnodeError
from dicomnode.host.foundation.events import Event, Station

_ROUTE = (
    (Station.RECEIVED, "receive: C-STORE, durable in the spool"),
    (Station.JOB, "job: the inputs are complete, a worker runs the pipeline"),
    (Station.BUILT, "build: the derived series is in the outbox"),
    (Station.DELIVERED, "deliver: confirmed by the peer, inputs released"),
)


class DemoProgress:
    """Shows the stations of the route, each as it is reached.

    Parameters
    ----------
    console : rich.console.Console
        Where.
    images : int
        How many images are sent.
    """

    def __init__(self, console: Console, images: int) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._images = images
        self._tasks: dict[Station, TaskID] = {}
        self._over = threading.Event()
        self._trouble: list[str] = []

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def listening(self, address: tuple[str, int], title: str, peer: str) -> None:
        """Say where everything listens."""
        self._progress.console.print(
            f"host {title} listens on {address[0]}:{address[1]}, PACS on {peer}", markup=False
        )
        for station, text in _ROUTE:
            total = self._images if station is Station.RECEIVED else 1
            self._tasks[station] = self._progress.add_task(
                text, total=total, start=station is Station.RECEIVED
            )

    def sent(self, status: int) -> None:
        """Take note of an answer to a C-STORE."""
        if status == 0:
            self._progress.advance(self._tasks[Station.RECEIVED])
        else:
            self._trouble.append(f"the host answered {status:#06x}")
            self._over.set()

    def event(self, event: Event) -> None:
        """Take note of what the host tells."""
        if event.level >= 40:  # noqa: PLR2004 - logging.ERROR
            self._trouble.append(f"{event.message} {event.detail}".strip())
            self._over.set()
        task = self._tasks.get(event.station)
        if task is None or event.station is Station.RECEIVED:
            return
        self._progress.start_task(task)
        done = event.station is not Station.DELIVERED or "every destination" in event.message
        if event.station is Station.JOB and "runs" not in event.message:
            return
        if done:
            self._progress.update(task, completed=1)
        if done and event.station is Station.DELIVERED:
            self._over.set()

    def wait_for_the_end(self, patience: float) -> None:
        """Wait until the result is delivered.

        Raises
        ------
        DicomnodeError
            When something goes wrong on the way, or nothing happens for too long.
        """
        if not self._over.wait(patience):
            raise DicomnodeError(f"the result was not delivered within {patience:g} s")
        if self._trouble:
            raise DicomnodeError("; ".join(self._trouble))
