"""What every test of the plugin uses."""

from __future__ import annotations

import sys
from pathlib import Path

import hypothesis
import pytest

from dicomnode import IdentityMapping

sys.path.insert(0, str(Path(__file__).parent))

hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

KEY = b"a key for the tests"


@pytest.fixture
def mapping() -> IdentityMapping:
    """Return a mapping with a fixed key, which remembers."""
    return IdentityMapping(KEY, remember=True)
