"""How a hook is called: each plugin on its own, in an order that no installation changes, errors named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pluggy

from dicomnode.errors import PluginError


@dataclass(frozen=True, slots=True)
class HookResult:
    """What one implementation of a hook returned, or raised instead."""

    plugin: str
    value: Any = None
    error: Exception | None = None


def call_implementation(
    hook: pluggy.HookCaller, implementation: pluggy.HookImpl, given: Mapping[str, Any]
) -> HookResult:
    """Call one implementation of a hook.

    Parameters
    ----------
    hook : pluggy.HookCaller
        The hook.
    implementation : pluggy.HookImpl
        One of its implementations.
    given : mapping
        The hook's arguments; an implementation gets those that it names.
    """
    plugin = implementation.plugin_name
    arguments = [given[name] for name in implementation.argnames]
    try:
        return HookResult(plugin, implementation.function(*arguments))
    except Exception as error:
        error.add_note(f"raised in {hook.name} of the plugin {plugin}")
        return HookResult(plugin, error=error)
    except SystemExit as error:
        failure = PluginError(f"{hook.name} of the plugin {plugin} called sys.exit({error.code!r})")
        failure.__cause__ = error
        return HookResult(plugin, error=failure)


def call_each(hook: pluggy.HookCaller, given: Mapping[str, Any]) -> Iterator[HookResult]:
    """Call every implementation of a hook on its own and yield each result, ``None`` included.

    The order is that in which pluggy would call them: the last registered first, ``tryfirst`` before and
    ``trylast`` after the others.
    """
    for implementation in reversed(hook.get_hookimpls()):
        yield call_implementation(hook, implementation, given)


def first_veto(hook: pluggy.HookCaller, given: Mapping[str, Any]) -> str | None:
    """Return the first reason that a plugin gives against something, ``None`` where none does.

    Any veto counts, in whatever order the plugins are called, and also when another plugin fails.

    Raises
    ------
    Exception
        What a plugin raised, if none gave a reason.
    """
    failed: Exception | None = None
    for result in call_each(hook, given):
        if result.value is None and result.error is None:
            continue
        if result.error is None and result.value is not None and not isinstance(result.value, str):
            what = f"{hook.name} of the plugin {result.plugin} returned {result.value!r}"
            failed = failed or PluginError(f"{what}: return None, or the reason as text")
        elif result.error is not None:
            failed = failed or result.error
        elif result.value is not None:
            return result.value or f"{result.plugin} said no"
    if failed is not None:
        raise failed
    return None
