"""``dicomnode-host demo``: the whole route on loopback, on real images."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.errors import ConfigurationError, DicomnodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset
    from rich.console import Console

    from dicomnode.cli.loopback import ReceivingPeer
    from dicomnode.host.configuration.config import Config

_EXAMPLE = "smooth"
_PATIENCE = 60.0


@click.command()
@click.option("--pipeline", default=_EXAMPLE, show_default=True, help="Which installed pipeline to run.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the result goes. By default into a new temporary folder.",
)
def demo(pipeline: str, out: Path | None) -> int:
    """Run the whole route on loopback, on a CT series that ships inside pydicom.

    Starts a host and a peer that receives, sends the series to the host over a real association, and shows
    each station. Exit code 0 only if the derived series arrived at the peer.
    """
    from rich.console import Console

    console = Console(highlight=False)
    folder = out or Path(tempfile.mkdtemp(prefix="dicomnode-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    sources = _source_files()
    with tempfile.TemporaryDirectory(prefix="dicomnode-demo-host-") as data:
        derived = _run(console, pipeline, sources, folder / "derived", Path(data))
    return _show(console, sources, derived, folder)


def _source_files() -> list[Path]:
    """Return the files of a CT series of five slices that pydicom's wheel carries."""
    import pydicom.data

    series = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests" / "98892001" / "CT5N"
    files = sorted(path for path in series.iterdir() if path.is_file())
    if not files:
        raise DicomnodeError(f"pydicom's example series is not in {series}")
    return files


def _run(console: Console, pipeline: str, sources: Sequence[Path], folder: Path, data: Path) -> list[Dataset]:
    """Send the series through a host, and return what arrived at the peer."""
    from dicomnode.cli.demo_progress import DemoProgress
    from dicomnode.cli.loopback import ReceivingPeer, send_files
    from dicomnode.host.foundation.events import Events
    from dicomnode.host.host import Host

    with ReceivingPeer(folder, "PACS") as peer:
        events = Events()
        host = Host(_config(pipeline, data, peer), events=events)
        title = host.configured_pipelines[pipeline].ae_title
        with DemoProgress(console, len(sources)) as progress:
            events.listen(progress.event)
            with host:
                progress.listening(host.address, title, peer.address)
                send_files(
                    sources,
                    host.address,
                    title,
                    calling_ae_title="SCANNER",
                    sent=lambda _path, status: progress.sent(status),
                )
                progress.wait_for_the_end(_PATIENCE)
    return peer.received


def _config(pipeline: str, data: Path, peer: ReceivingPeer) -> Config:
    """Return the configuration of the demonstration's host.

    Raises
    ------
    ConfigurationError
        When the pipeline is not installed.
    """
    from dicomnode.host.configuration.config import Config
    from dicomnode.plugins.registry import Registry

    names = Registry().names("pipelines")
    if pipeline not in names:
        known = f" Installed are: {', '.join(names)} (choose with --pipeline)." if names else ""
        raise ConfigurationError(
            f"the pipeline {pipeline!r} is not installed.{known} The example that the demonstration runs by"
            " default comes with a copy of the repository: pip install ./examples/smooth"
        )
    return Config.model_validate(
        {
            "host": {"bind": "127.0.0.1:0", "data": data, "ae_title": "DICOMNODE", "reserve": 0},
            "peers": {"PACS": {"ae_title": "PACS", "address": peer.address}},
            "pipelines": {pipeline: {"destinations": ["PACS"], "attempts": 1}},
        }
    )


def _show(console: Console, sources: Sequence[Path], derived: Sequence[Dataset], folder: Path) -> int:
    """Show what arrived beside what was sent, and return the exit code."""
    from pydicom import dcmread

    from dicomnode.cli.demo_view import tag_table, write_picture

    originals = [dcmread(path) for path in sources]
    if not derived:
        console.print("[bold red]Nothing arrived at the peer.[/]")
        return 1
    console.print(tag_table(originals, derived))
    picture = write_picture(originals, derived, folder / "source-and-result.png")
    console.print(
        f"The derived series: {folder / 'derived'} ({len(derived)} instances)", soft_wrap=True, markup=False
    )
    if picture is not None:
        console.print(
            f"One source and one result slice, side by side: {picture}", soft_wrap=True, markup=False
        )
    sent_series = {str(image.SeriesInstanceUID) for image in originals}
    fine = all(str(image.SeriesInstanceUID) not in sent_series for image in derived) and {
        str(image.StudyInstanceUID) for image in derived
    } == {str(image.StudyInstanceUID) for image in originals}
    if not fine:
        console.print("[bold red]What arrived is not a derived series of the study that was sent.[/]")
    return 0 if fine else 1
