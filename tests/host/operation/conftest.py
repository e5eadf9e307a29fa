"""An open ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.host.ledger.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Open a ledger that syncs nothing."""
    with Ledger(tmp_path / "ledger.sqlite", durable=False) as opened:
        yield opened
