"""A host that serves the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gathering_site import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run a host of the gathering tests; each test has patients of its own."""
    made = Site(tmp_path_factory.mktemp("gathering"))
    with made.host:
        yield made
        assert "Traceback" not in made.host.text()
