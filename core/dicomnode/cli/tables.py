"""Tables for people. What is shown comes from the network in part: nothing in it is markup or control."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from dicomnode.dicom.values.safe import safe_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_WIDE = 1000
"""The width where there is no terminal, and the longest text in a cell."""
_READABLE = 40
"""How many characters of the last column a terminal must have room for: else it goes below."""
_GAP = "   "
_MARGIN = 2
"""What a grid has before its first column, and after its last one."""

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
    cells = [[_cell(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        _print_lines(headings, cells, title)
    elif _leaves_room(headings, cells):
        _print_grid(headings, cells, title)
    elif not _fits(headings[:-1], cells):
        _print_records(headings, cells, title)
    else:  # the last column holds the longest text by custom: it goes below its row
        _print_grid(headings[:-1], [row[:-1] for row in cells], title, [row[-1] for row in cells])


def _leaves_room(headings: Sequence[str], cells: Sequence[Sequence[Text]]) -> bool:
    """Say whether a terminal has enough room for the last column beside the others."""
    return _fits(headings, cells, _READABLE)


def _fits(headings: Sequence[str], cells: Sequence[Sequence[Text]], last: int = _WIDE) -> bool:
    """Say whether a terminal has room for columns, of the last one for so many characters."""
    widths = _widths(headings, cells)
    needed = sum(widths[:-1]) + min(widths[-1], last) + len(_GAP) * (len(widths) - 1) + _MARGIN
    return needed <= console().width


def _widths(headings: Sequence[str], cells: Sequence[Sequence[Text]]) -> list[int]:
    return [
        max([len(heading.removeprefix(">")), *(row[column].cell_len for row in cells)])
        for column, heading in enumerate(headings)
    ]


def _print_lines(headings: Sequence[str], cells: Sequence[Sequence[Text]], title: str) -> None:
    """Print a line a row, for grep and less; the last column is as wide as each of its texts."""
    widths = _widths(headings, cells)
    widths[-1] = len(headings[-1].removeprefix(">"))
    plain = [heading.removeprefix(">") for heading in headings]
    lines = [plain, ["-" * width for width in widths], *([cell.plain for cell in row] for row in cells)]
    if title:
        sys.stdout.write(f"{title}\n")
    for line in lines:
        aligned = (
            text.rjust(width) if heading.startswith(">") else text.ljust(width)
            for text, width, heading in zip(line, widths, headings, strict=True)
        )
        sys.stdout.write(_GAP.join(aligned).rstrip() + "\n")


def _print_records(headings: Sequence[str], cells: Sequence[Sequence[Text]], title: str) -> None:
    """Print each row as a text below its first cell, for a terminal that has no room for the columns.

    A grid would leave out those that do not fit.
    """
    width = console().width
    if title:
        sys.stdout.write(f"{title}\n")
    for first, *others in cells:
        sys.stdout.write(f"{first.plain}\n")
        named = zip(headings[1:], others, strict=True)
        told = "; ".join(f"{heading.removeprefix('>')} {cell.plain}" for heading, cell in named if cell.plain)
        sys.stdout.write(f"{wrapped(told, width, '    ')}\n")


def wrapped(text: str, width: int, indent: str, first: str | None = None) -> str:
    """Return a text in lines of a width, none of its words cut: a UID that is cut in two cannot be copied.

    Parameters
    ----------
    text : str
    width : int
    indent : str
        What stands before each line.
    first : str, optional
        What stands before the first, where that is something else.
    """
    return textwrap.fill(
        text,
        width,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def wrapped_line(line: str, width: int, further: int = 2) -> str:
    """Return a line in lines of a width, those after the first indented by `further` more than it is."""
    indent = " " * (len(line) - len(line.lstrip()))
    return wrapped(line.lstrip(), width, indent + " " * further, indent)


def _print_grid(
    headings: Sequence[str], cells: Sequence[Sequence[Text]], title: str, below: Sequence[Text] = ()
) -> None:
    """Print a table for a terminal, and what stands below each row, if anything."""
    from rich import box
    from rich.padding import Padding
    from rich.table import Table

    def table(rows: Sequence[Sequence[Text]], *, first: bool) -> Table:
        made = Table(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            show_header=first,
            show_edge=first or not below,
            title=(title or None) if first else None,
            title_justify="left",
            title_style="bold",
        )
        for heading, width in zip(headings, widths, strict=True):
            made.add_column(
                heading.removeprefix(">"),
                justify="right" if heading.startswith(">") else "left",
                overflow="fold",
                min_width=width if below else None,
            )
        for row in rows:
            made.add_row(*row)
        return made

    widths = _widths(headings, cells)
    out = console()
    if not below:
        out.print(table(cells, first=True))
        return
    for number, (row, text) in enumerate(zip(cells, below, strict=True)):
        out.print(table([row], first=number == 0))
        if text.plain:
            out.print(Padding(text, (0, 0, 0, 4)))


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
