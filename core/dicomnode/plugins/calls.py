"""How a hook is called: each plugin on its own, in an order that no installation changes, errors named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pluggy

from dicomnode.errors import PluginError


@dataclass(frozen=True, slots=True)
class Answer:
    """What one plugin answered, or what it raised instead."""

    plugin: str
    value: Any = None
    error: Exception | None = None


def ask(hook: pluggy.HookCaller, implementation: pluggy.HookImpl, given: Mapping[str, Any]) -> Answer:
    """Ask one implementation of a hook.

    Parameters
    ----------
    hook : pluggy.HookCaller
        The hook.
    implementation : pluggy.HookImpl
        One of its implementations.
    given : mapping
        The hook's arguments; an implementation gets those that it asks for.
    """
    plugin = implementation.plugin_name
    arguments = [given[name] for name in implementation.argnames]
    try:
        return Answer(plugin, implementation.function(*arguments))
    except Exception as error:
        error.add_note(f"raised in {hook.name} of the plugin {plugin}")
        return Answer(plugin, error=error)
    except SystemExit as error:
        told = PluginError(f"{hook.name} of the plugin {plugin} called sys.exit({error.code!r})")
        told.__cause__ = error
        return Answer(plugin, error=told)


def answers(hook: pluggy.HookCaller, given: Mapping[str, Any]) -> Iterator[Answer]:
    """Ask every implementation of a hook on its own and yield what each answered, ``None`` included.

    The order is that in which pluggy would call them: the last registered first, ``tryfirst`` before and
    ``trylast`` after the others.
    """
    for implementation in reversed(hook.get_hookimpls()):
        yield ask(hook, implementation, given)


def first_veto(hook: pluggy.HookCaller, given: Mapping[str, Any]) -> str | None:
    """Return the first reason that a plugin gives against something, ``None`` where none does.

    A veto counts whoever gives it and in whatever order they are asked; also when another plugin fails.

    Raises
    ------
    Exception
        What a plugin raised, if none gave a reason.
    """
    failed: Exception | None = None
    for answer in answers(hook, given):
        if answer.value is None and answer.error is None:
            continue
        if answer.error is None and answer.value is not None and not isinstance(answer.value, str):
            told = f"{hook.name} of the plugin {answer.plugin} returned {answer.value!r}"
            failed = failed or PluginError(f"{told}: return None, or the reason as text")
        elif answer.error is not None:
            failed = failed or answer.error
        elif answer.value is not None:
            return answer.value or f"{answer.plugin} said no"
    if failed is not None:
        raise failed
    return None
