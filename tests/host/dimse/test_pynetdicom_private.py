"""The installed pynetdicom is one that the receiver was tested with, and has the private names it uses."""

from __future__ import annotations

import inspect

import pynetdicom
import pytest
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider

from dicomnode.host.dimse.pynetdicom_private import PRIVATE_NAMES, TESTED_VERSIONS


def test_the_version_is_a_tested_one() -> None:
    """After an upgrade: run the tests and the benchmarks of the receiver, then add the version."""
    assert pynetdicom.__version__ in TESTED_VERSIONS


@pytest.mark.parametrize(("owner", "name"), PRIVATE_NAMES)
def test_private_names_are_there(owner: type, name: str) -> None:
    """Each name that is not public still exists."""
    assert callable(getattr(owner, name))


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (DULServiceProvider, "_recv_pdu"),
        (DULServiceProvider, "_kill_thread"),
        (DULServiceProvider, "event_queue"),
        (DULServiceProvider, "to_provider_queue"),
        (Association, "dul"),
        (Association, "is_established"),
    ],
)
def test_instance_attributes_are_set(owner: type, name: str) -> None:
    """Attributes that the stepped state machine relies on are still set by the constructors."""
    assert f"self.{name}" in inspect.getsource(owner.__init__)


def test_the_reactor_does_not_act_on_its_own() -> None:
    """send_pdu only queues, so stepping it at once is enough."""
    assert "to_provider_queue.put" in inspect.getsource(DULServiceProvider.send_pdu)
