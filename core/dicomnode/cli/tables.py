"""Tables for people. What is shown comes from the network in part: nothing in it is markup or control."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ..dicom.safe import safe_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_WIDE = 1000
"""The width where there is no terminal: a row is a line, for grep."""

STYLES = {
    "delivered": "green",
    "confirmed": "green",
    "ok": "green",
    "running": "cyan",
    "built": "cyan",
    "pending": "cyan",
    "stored": "cyan",
    "warning": "yellow",
    "failed": "bold red",
    "undeliverable": "bold red",
    "dead": "bold red",
    "discarded": "dim",
}
"""How states are shown."""


def console() -> Console:
    """Return where tables are printed."""
    from rich.console import Console

    return Console(
        file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE, highlight=False, soft_wrap=False
    )


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print rows under their headings.

    Parameters
    ----------
    headings : sequence of str
        The columns' names. One that begins with ``>`` is aligned to the right.
    rows : iterable of sequence
        The cells; what is ``None`` is left empty.
    title : str
        What stands above the table.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_justify="left", title_style="bold"
    )
    for heading in headings:
        table.add_column(
            heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console().print(table)


def shown_time(iso: str | None) -> str:
    """Return a time in ISO 8601 as people read it, in the local zone."""
    return "" if not iso else datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def shown_bytes(count: float) -> str:
    """Return a size as people read it: ``1.5 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004 - the next unit
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def shown_seconds(seconds: float) -> str:
    """Return a duration as people read it: ``2 min``, ``3 h``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _cell(value: object) -> Text:
    from rich.text import Text

    text = "" if value is None else safe_text(value, longest=_WIDE)
    return Text(text, style=STYLES.get(text, ""))
