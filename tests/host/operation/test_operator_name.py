"""Who gives an order: the user, or who called sudo."""

from __future__ import annotations

import os
import pwd

import pytest

from dicomnode.host.operation.operator_name import operator_name


def test_the_user_who_runs_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name in the user database, whatever the environment says of a login."""
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setenv("LOGNAME", "somebody")
    assert operator_name() == pwd.getpwuid(os.getuid()).pw_name


def test_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the user of the service, as whom everybody gives orders."""
    monkeypatch.setenv("SUDO_USER", "alice")
    assert operator_name() == "alice"


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container: the number."""
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999)
    assert operator_name() == "user 3999999"
