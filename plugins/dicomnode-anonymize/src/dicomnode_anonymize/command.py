"""The command ``dicomnode-host anonymize IN OUT``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from dicomnode_anonymize.folder import Report

_SHOWN = 20


@click.command(short_help="De-identify files and folders by PS3.15 Annex E.")
@click.argument("source", metavar="IN", type=click.Path(exists=True, path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--options", "names", default="", metavar="A,B", help="Options of the profile, by name; see below."
)
@click.option(
    "--key-file", type=click.Path(path_type=Path), metavar="FILE", help="The secret key; made if missing."
)
@click.option("--key-env", metavar="VARIABLE", help="The environment variable that holds the key.")
@click.option(
    "--table", type=click.Path(path_type=Path), metavar="FILE", help="Remember whose each pseudonym is."
)
@click.option("--burned-in", type=click.Choice(["refuse", "flag"]), default="refuse", show_default=True,
              help="What to do with images whose pixels may hold text about the patient.")  # fmt: skip
@click.option("--visual-features", type=click.Choice(["refuse", "flag"]), default="flag", show_default=True,
              help="What to do with images that may show a face.")  # fmt: skip
@click.option("--vocabulary", type=click.File(encoding="utf-8"), metavar="FILE",
              help="Words that may stay in descriptions, one or more a line.")  # fmt: skip
@click.option("--safe-private", multiple=True, metavar="TAG",
              help='A private attribute that may stay, as (0019,"SIEMENS MR HEADER",0c).')  # fmt: skip
def anonymize(
    source: Path,
    target: Path,
    *,
    names: str,
    key_file: Path | None,
    key_env: str | None,
    table: Path | None,
    burned_in: str,
    visual_features: str,
    vocabulary: TextIO | None,
    safe_private: tuple[str, ...],
) -> int:
    """De-identify the DICOM files in IN by PS3.15 Annex E, Basic Application Level Confidentiality Profile.

    The results are OUT/<study>/<series>/<instance>.dcm, named by their new UIDs. Pixels stay as they are. The
    same key gives the same pseudonyms every time; without --key-file, --key-env and --table the key is
    anonymize.key in your configuration folder. Only --table makes it possible to find out again who is who.

    \b
    Options of the profile:
      retain-safe-private                  retain-longitudinal-full-dates
      retain-uids                          retain-longitudinal-modified-dates
      retain-device-identity               clean-descriptors
      retain-institution-identity          clean-structured-content
      retain-patient-characteristics       clean-graphics

    Exit codes: 0 every DICOM file was de-identified; 1 some were not; 2 nothing was tried.
    """  # noqa: D301 - the \b is click's mark of a paragraph that keeps its lines
    from dicomnode_anonymize.anonymizer import Anonymizer
    from dicomnode_anonymize.errors import AnonymizeError
    from dicomnode_anonymize.folder import anonymize_files, files_below
    from dicomnode_anonymize.options import checked_options
    from dicomnode_anonymize.private import parsed_tags
    from dicomnode_anonymize.table_file import mapping_in

    if target.resolve() == source.resolve() or source.resolve() in target.resolve().parents:
        raise click.UsageError("OUT lies in IN: what is written would be read again. Choose another folder.")
    options = [name for name in names.split(",") if name.strip()]
    try:
        checked_options(options), parsed_tags(safe_private)  # before a key or a table is made
        with mapping_in(table, _key(key_file, key_env, table)) as mapping:
            anonymizer = Anonymizer(
                mapping,
                options,
                vocabulary=vocabulary.read().split() if vocabulary else (),
                safe_private=safe_private,
                burned_in=burned_in,  # type: ignore[arg-type]  # click.Choice has seen to it
                visual_features=visual_features,  # type: ignore[arg-type]  # click.Choice has seen to it
            )
            files = files_below(source)
            with _progress(len(files)) as progress:
                report = anonymize_files(files, target, anonymizer, progress)
    except AnonymizeError as error:
        raise click.UsageError(str(error)) from error
    return _told(report, target, source)


def _key(key_file: Path | None, key_env: str | None, table: Path | None) -> str | None:
    from dicomnode_anonymize.keys import default_key_file, key_from_environment, key_from_file

    if key_file and key_env:
        raise click.UsageError("--key-file and --key-env both say where the key is: choose one")
    if key_env:
        return key_from_environment(key_env)
    if key_file or not table:
        return key_from_file(key_file or default_key_file())
    return None


class _progress:  # noqa: N801 - used as a statement
    """A bar on a terminal, nothing in a pipe."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("De-identifying", total=total)

    def __enter__(self) -> Callable[[], None]:
        self._bar.start()
        return lambda: self._bar.advance(self._task)

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()


def _told(report: Report, target: Path, source: Path) -> int:
    click.echo(f"{report.written} instances written to {target}")
    if report.again:
        click.echo(f"{report.again} files were instances that had been written already")
    for mark, count in sorted(report.marks.items()):
        click.echo(f"look at {count} of them: {mark}")
    if report.passed_over:
        click.echo(f"{report.passed_over} files are not DICOM and were passed over")
    if report.failed:
        click.echo(f"{len(report.failed)} files were NOT de-identified and not written:", err=True)
        for path, reason in report.failed[:_SHOWN]:
            shown = path.relative_to(source) if path != source else path
            click.echo(f"  {str(shown)!r}: {reason}", err=True)
        if len(report.failed) > _SHOWN:
            click.echo(f"  and {len(report.failed) - _SHOWN} more", err=True)
    return 1 if report.failed or not (report.written or report.again) else 0
