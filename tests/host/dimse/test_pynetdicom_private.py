"""The installed pynetdicom is one that the receiver was tested with, and has the private names it uses."""

from __future__ import annotations

import pynetdicom
import pytest
from pynetdicom import AE
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_RELEASE

from dicomnode.host.dimse.pynetdicom_private import PRIVATE_NAMES, TESTED_VERSIONS


def test_the_version_is_a_tested_one() -> None:
    """After an upgrade: run the tests and the benchmarks of the receiver, then add the version."""
    assert pynetdicom.__version__ in TESTED_VERSIONS


@pytest.mark.parametrize(("owner", "name"), PRIVATE_NAMES)
def test_private_names_are_there(owner: type, name: str) -> None:
    """Each name that is not public still exists."""
    assert callable(getattr(owner, name))


@pytest.fixture
def association() -> Association:
    """Return an association of pynetdicom with an upper layer whose thread was not started."""
    made = Association(AE("NODE"), MODE_ACCEPTOR)
    made.dul = DULServiceProvider(made)
    return made


def test_instance_attributes_are_set(association: Association) -> None:
    """What the stepped state machine relies on is there as soon as the objects are."""
    assert association.dul.event_queue.empty()
    assert association.dul.to_provider_queue.empty()
    assert association.dul._recv_pdu.empty()
    assert association.dul._kill_thread is False
    assert association.is_established is False


def test_the_reactor_does_not_act_on_its_own(association: Association) -> None:
    """send_pdu only queues, so stepping it at once is enough."""
    state = association.dul.state_machine.current_state
    primitive = A_RELEASE()
    association.dul.send_pdu(primitive)
    assert association.dul.to_provider_queue.get(block=False) is primitive
    assert association.dul.event_queue.empty()
    assert association.dul.state_machine.current_state == state
