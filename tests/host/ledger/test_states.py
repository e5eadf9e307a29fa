"""The states of everything in the ledger, and which may follow which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.ledger.states import TRANSITIONS, InstanceState, JobState, check_transition


@pytest.mark.parametrize("kind", list(TRANSITIONS))
def test_every_state_has_its_transitions(kind: type) -> None:
    """The table names every state, leads to states of the same kind, and reaches all but the first."""
    table = TRANSITIONS[kind]
    assert set(table) == set(kind)
    reached = {new for news in table.values() for new in news}
    assert all(isinstance(new, kind) for new in reached)
    beginnings = {InstanceState.RECEIVED, InstanceState.WAITING, JobState.QUEUED}
    assert set(kind) - reached <= beginnings | {next(iter(kind))}


@given(st.sampled_from(InstanceState), st.sampled_from(InstanceState))
def test_transitions_are_checked(old: InstanceState, new: InstanceState) -> None:
    """A change of state that the table does not have is refused by name."""
    if new in TRANSITIONS[InstanceState][old]:
        check_transition(old, new)
    else:
        with pytest.raises(ValueError, match=f"may not go from {old.value} to {new.value}"):
            check_transition(old, new)
