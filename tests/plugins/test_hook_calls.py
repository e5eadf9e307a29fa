"""How a hook is called: each implementation on its own, errors with the plugin's name, any veto counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest

from dicomnode.errors import PluginError
from dicomnode.plugins.hook_calls import call_each, call_implementation, first_veto

spec, impl = pluggy.HookspecMarker("test"), pluggy.HookimplMarker("test")


class Specs:
    """One hook."""

    @spec
    def check(self, image: Any, name: str) -> Any:
        """Check an image."""


def hook_of(*functions: Callable[..., Any], **options: Any) -> pluggy.HookCaller:
    """Return a hook with implementations by the plugins a, b, c ..."""
    manager = pluggy.PluginManager("test")
    manager.add_hookspecs(Specs)
    for letter, function in zip("abcdef", functions, strict=False):
        manager.register(SimpleNamespace(check=impl(function, **options)), name=letter)
    return manager.hook.check


GIVEN = {"image": "image", "name": "ct"}


def test_an_implementation_gets_the_arguments_that_it_names() -> None:
    """What it does not name it does not get."""
    hook = hook_of(lambda name: f"{name} seen")
    (implementation,) = hook.get_hookimpls()
    result = call_implementation(hook, implementation, GIVEN)
    assert (result.plugin, result.value, result.error) == ("a", "ct seen", None)


def test_what_is_raised_is_a_result_with_the_plugins_name() -> None:
    """An exception has a note; an exit becomes an error; an interrupt by the user goes on."""

    def fail(image: Any) -> None:
        raise KeyError(image)

    def leave() -> None:
        raise SystemExit(3)

    def interrupt() -> None:
        raise KeyboardInterrupt

    hook = hook_of(fail, leave)
    left, failed = call_each(hook, GIVEN)
    assert isinstance(failed.error, KeyError)
    assert failed.error.__notes__ == ["raised in check of the plugin a"]
    assert str(left.error) == "check of the plugin b called sys.exit(3)"
    assert isinstance(left.error, PluginError)
    with pytest.raises(KeyboardInterrupt):
        list(call_each(hook_of(interrupt), GIVEN))


def test_each_is_called_in_pluggys_order() -> None:
    """The last registered first, and every result is yielded, ``None`` included."""
    results = call_each(hook_of(lambda: "one", lambda: None, lambda: "three"), GIVEN)
    assert [(result.plugin, result.value) for result in results] == [
        ("c", "three"),
        ("b", None),
        ("a", "one"),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(["agree", "refuse", "fail", "odd"])))
def test_any_veto_counts_in_any_order(order: tuple[str, ...]) -> None:
    """A reason wins over plugins that agree, fail, or return something else."""

    def fail() -> None:
        raise ValueError("broken")

    functions = {"agree": lambda: None, "refuse": lambda: "no", "fail": fail, "odd": lambda: 7}
    assert first_veto(hook_of(*[functions[each] for each in order]), GIVEN) == "no"


def test_without_a_veto_the_first_failure_is_raised() -> None:
    """What failed did not agree."""

    def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        first_veto(hook_of(lambda: None, fail), GIVEN)
    with pytest.raises(PluginError, match="check of the plugin a returned False: return None, or the reason"):
        first_veto(hook_of(lambda: False), GIVEN)
    assert first_veto(hook_of(lambda: None, lambda: None), GIVEN) is None


def test_a_veto_without_words_names_its_plugin() -> None:
    """An empty text is a veto, too."""
    assert first_veto(hook_of(lambda: ""), GIVEN) == "a said no"
