"""A plugin as the registry has it: what it registers, and its status."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

GROUPS = {
    "pipelines": "dicomnode.pipelines",
    "inputs": "dicomnode.inputs",
    "elements": "dicomnode.elements",
    "outputs": "dicomnode.outputs",
    "hooks": "dicomnode.hooks",
}
"""A kind of registration -> its entry-point group."""


class PluginStatus(Enum):
    """The status of a plugin."""

    ACTIVE = "active"
    DISABLED = "disabled"
    FAILED = "failed"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Registration:
    """One entry point: a name, what it points to, and the distribution that has it."""

    kind: str
    name: str
    value: str
    distribution: str
    version: str
    entry_point: Any = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name} = {self.value} ({GROUPS[self.kind]}) of {self.distribution} {self.version}"


@dataclass(slots=True)
class Plugin:
    """One distribution that registers something, and its status.

    Attributes
    ----------
    distribution, version : str
        As its metadata say.
    registrations : list of Registration
        Everything that it registers.
    requires : tuple of str
        What it needs, as its metadata say (``Requires-Dist``).
    requires_python : str
        The Python versions that it runs on; empty for any.
    status : PluginStatus
        Its status.
    reason : str
        Why it is not active, in one line.
    hooks : list of str
        The hooks that it implements, as far as they are known: after its hook modules were imported, or their
        source was read.
    """

    distribution: str
    version: str
    registrations: list[Registration] = field(default_factory=list)
    requires: tuple[str, ...] = ()
    requires_python: str = ""
    status: PluginStatus = PluginStatus.ACTIVE
    reason: str = ""
    hooks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".rstrip()

    @property
    def broken(self) -> bool:
        """Whether it is left out although the configuration does not say so."""
        return self.status in (PluginStatus.FAILED, PluginStatus.CONFLICT)

    def fail(self, reason: str, status: PluginStatus = PluginStatus.FAILED) -> None:
        """Note the first reason for which this plugin is not fine, in one line."""
        if self.status is PluginStatus.ACTIVE:
            self.status, self.reason = status, " ".join(reason.split())

    def note_hooks(self, names: list[str]) -> None:
        """Note which hooks it was found to implement."""
        self.hooks = sorted({*self.hooks, *names})

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--list-plugins --json``."""
        registers: dict[str, dict[str, str]] = defaultdict(dict)
        for each in self.registrations:
            registers[each.kind][each.name] = each.value
        return {
            "distribution": self.distribution,
            "version": self.version,
            "status": self.status.value,
            "reason": self.reason,
            "registers": dict(registers),
            "hooks": self.hooks,
        }
