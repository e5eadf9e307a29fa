"""Objects by ``module:name``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dicomnode.errors import ConfigurationError
from dicomnode.plugins.object_import import import_object


def test_an_object_and_its_attribute() -> None:
    """A name in a module, and a path of attributes below it."""
    assert import_object("os.path:join", "process").__name__ == "join"
    assert import_object("datetime:datetime.min", "process").year == 1


@pytest.mark.parametrize("reference", ["os.path", "os.path:", ":join", ""])
def test_another_form(reference: str) -> None:
    """The message names the key and the reference."""
    with pytest.raises(ConfigurationError, match=f"^process: '{reference}' is not of the form module:name"):
        import_object(reference, "process")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("x = 1", "AttributeError: .*'function'"),
        ("class Odd(BaseException): ...\nraise Odd('x')", "Odd: x"),
    ],
)
def test_whatever_an_import_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    """An exit or an odd exception becomes an error with the key; only the user's interrupt goes on."""
    (tmp_path / "imported_for_a_test.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "imported_for_a_test", raising=False)
    message = f"^process: imported_for_a_test:function cannot be imported: {reason}"
    with pytest.raises(ConfigurationError, match=message):
        import_object("imported_for_a_test:function", "process")


def test_an_interrupt_by_the_user_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a long import ends the command."""
    (tmp_path / "interrupted_for_a_test.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        import_object("interrupted_for_a_test:function", "process")
