"""Tables: a line a row where no terminal is; in a narrow terminal the longest text goes below its row."""

from __future__ import annotations

import io
import re
import sys

import pytest

from dicomnode.cli.tables import print_table

HEADINGS = (">job", "state", "changed", "reason")
LONG = "the result must not be sent out: " + "something is wrong with it; " * 15
ROWS = [(1, "failed", "2026-11-24 14:28:40", LONG), (12, "delivered", "2026-11-24 14:28:41", "confirmed")]


class Terminal(io.StringIO):
    """What says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_piped_each_row_is_a_line_as_long_as_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """One long reason makes no other line longer, and nothing is broken or padded at the end."""
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    print_table(HEADINGS, ROWS)
    heading, rule, failed, delivered = out.getvalue().splitlines()
    assert heading.split() == ["job", "state", "changed", "reason"]
    assert set(rule) == {"-", " "}
    assert failed.endswith(LONG.rstrip())
    assert delivered == " 12   delivered   2026-11-24 14:28:41   confirmed"
    assert max(map(len, (heading, rule, delivered))) < 60


def test_in_a_narrow_terminal_the_longest_text_goes_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the terminal's width there, and the other columns are not folded."""
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr(sys, "stdout", out := Terminal())
    print_table(HEADINGS, ROWS)
    lines = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()).splitlines()
    assert all(len(line.rstrip()) <= 70 for line in lines)
    (at,) = [number for number, line in enumerate(lines) if "2026-11-24 14:28:40" in line]
    reason = [line for line in lines[at:] if line.startswith("    ") and line.strip()]
    assert len(reason[0].rstrip()) > 50
    assert any("2026-11-24 14:28:41" in line for line in lines)


def test_in_a_wide_terminal_it_stays_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """One table, the last column folded into what room there is."""
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr(sys, "stdout", out := Terminal())
    print_table(HEADINGS, ROWS)
    assert "14:28:40   the result must not be sent out" in out.getvalue()
