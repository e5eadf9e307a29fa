"""Which plugins are installed, and what each registers: read from metadata, loaded only when used.

Entry points are read with the backport ``importlib_metadata`` here and nowhere else: its interface is the
same on every Python that we support, and its reading of many distributions is quicker than the standard
library's of 3.11.

A plugin says how new a host it needs by its requirement ``dicomnode-host>=X``, and by nothing else: pip
understands it, it can be read without importing anything, and the contract's version is the host's.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any

import importlib_metadata
from packaging.utils import canonicalize_name

from dicomnode.errors import PluginError
from dicomnode.plugins.plugin import GROUPS, Plugin, PluginStatus, Registration
from dicomnode.plugins.requirements import HOST_DISTRIBUTION, RequirementsOf, VersionOf, unmet

__all__ = [
    "GROUPS",
    "HOST_DISTRIBUTION",
    "Plugin",
    "PluginStatus",
    "Registration",
    "Registry",
    "host_version",
]

KindAndName = tuple[str, str]
"""What claims are made for: a kind of registration, and a name of it."""


class Registry:
    """The installed plugins.

    The host is the first of them: its own outputs and elements are registered like everybody's. Making a
    registry reads metadata and imports nothing.

    Parameters
    ----------
    disabled : collection of str
        Distributions to leave out, by name (block-list).
    only : collection of str, optional
        Distributions to use, by name (allow-list); all others are left out. ``None`` for no such list.
    """

    def __init__(self, disabled: Collection[str] = (), only: Collection[str] | None = None) -> None:
        self._plugins = {canonicalize_name(plugin.distribution): plugin for plugin in _installed()}
        self._usable: dict[KindAndName, Registration] = {}
        self._hooks: list[Registration] = []
        self._outcomes: dict[Registration, Any] = {}
        self._leave_out(disabled, only)
        version_of, requirements_of = cache(_version_of), cache(_requirements_of)
        for plugin in self._plugins.values():
            _check_metadata(plugin, version_of, requirements_of)
        self._claim_names()

    @property
    def plugins(self) -> list[Plugin]:
        """Every distribution that registers something, sorted by name, the host first."""
        return sorted(
            self._plugins.values(),
            key=lambda each: (each.distribution != HOST_DISTRIBUTION, each.distribution),
        )

    def problems(self) -> list[str]:
        """Return a line for each plugin known to be broken: with any, ``run --strict`` refuses to start."""
        return [
            f"{plugin}: {plugin.status.value}: {plugin.reason}" for plugin in self.plugins if plugin.broken
        ]

    def names(self, kind: str) -> list[str]:
        """Return the names that can be used of a kind (a key of :data:`GROUPS`)."""
        return [each.name for each in self.registrations(kind)]

    def registrations(self, kind: str) -> Iterator[Registration]:
        """Yield the usable registrations of a kind, sorted by name, then by distribution."""
        usable = (
            self._hooks if kind == "hooks" else [each for each in self._usable.values() if each.kind == kind]
        )
        yield from sorted(usable, key=lambda each: (each.name, each.distribution))

    def registration(self, kind: str, name: str) -> Registration:
        """Return the registration of a name.

        Raises
        ------
        PluginError
            When no usable plugin does.
        """
        found = self._usable.get((kind, name))
        if found is None and kind == "hooks":
            found = next((each for each in self.registrations(kind) if each.name == name), None)
        if found is None:
            raise PluginError(self._why_unusable(kind, name))
        return found

    def load(self, kind: str, name: str) -> Any:
        """Import what a name points to. What goes wrong is noted with the plugin.

        Parameters
        ----------
        kind : str
            A key of :data:`GROUPS`.
        name : str
            The entry point's name.

        Raises
        ------
        PluginError
            When no usable plugin registers the name, it cannot be imported, or it is of the wrong kind.
        """
        return self.load_registration(self.registration(kind, name))

    def load_registration(self, registration: Registration) -> Any:
        """Import what a registration points to, once; see :meth:`load`."""
        if registration not in self._outcomes:
            self._outcomes[registration] = self._loaded(registration)
        outcome = self._outcomes[registration]
        if isinstance(outcome, PluginError):
            raise PluginError(str(outcome)) from outcome.__cause__
        return outcome

    def plugin_of(self, registration: Registration) -> Plugin:
        """Return the plugin that a registration is part of."""
        return self._plugins[canonicalize_name(registration.distribution)]

    def unknown(self, distributions: Collection[str]) -> list[str]:
        """Return those of some distributions that register nothing here: misspelt in a list, say."""
        return sorted(name for name in distributions if canonicalize_name(name) not in self._plugins)

    def _loaded(self, registration: Registration) -> Any:
        try:
            loaded = registration.entry_point.load()
            _check_kind(registration, loaded)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: a plugin must not end the host
            reason = f"{registration.value} cannot be used: {type(error).__name__}: {error}".rstrip(": ")
            self.plugin_of(registration).fail(reason)
            failure = PluginError(f"plugin {registration.distribution} {registration.version}: {reason}")
            failure.__cause__ = error
            return failure
        return loaded

    def _leave_out(self, disabled: Collection[str], only: Collection[str] | None) -> None:
        disabled = {canonicalize_name(name) for name in disabled}
        allowed = None if only is None else {canonicalize_name(name) for name in only}
        for name, plugin in self._plugins.items():
            if name == HOST_DISTRIBUTION:
                continue  # the host needs its own outputs and elements
            if name in disabled:
                plugin.fail("disabled in the configuration (plugins.disabled)", PluginStatus.DISABLED)
            elif allowed is not None and name not in allowed:
                plugin.fail(
                    "not among those that the configuration allows (plugins.only)", PluginStatus.DISABLED
                )

    def _claim_names(self) -> None:
        """Give each name to the one plugin that claims it; where several do, none of them has it.

        A name of the host's own stays the host's, whatever else claims it. The names of hook modules have no
        meaning, so they cannot conflict.
        """
        claims: dict[KindAndName, list[Registration]] = defaultdict(list)
        for plugin in self.plugins:
            if plugin.status is PluginStatus.ACTIVE:
                for each in plugin.registrations:
                    if each.kind != "hooks":
                        claims[each.kind, each.name].append(each)
        for (kind, name), claimants in claims.items():
            if len(claimants) > 1:
                ours = any(each.distribution == HOST_DISTRIBUTION for each in claimants)
                owners = " and ".join(str(self.plugin_of(each)) for each in claimants)
                problem = (
                    "is the host's own; it needs another name"
                    if ours
                    else f"is claimed by {owners}; disable all but one"
                )
                for each in claimants:
                    if each.distribution != HOST_DISTRIBUTION:
                        self.plugin_of(each).fail(
                            f"the name {name!r} in {GROUPS[kind]} {problem}", PluginStatus.CONFLICT
                        )
        usable = [
            each
            for plugin in self.plugins
            if plugin.status is PluginStatus.ACTIVE
            for each in plugin.registrations
        ]
        self._usable = {(each.kind, each.name): each for each in usable if each.kind != "hooks"}
        self._hooks = [each for each in usable if each.kind == "hooks"]

    def _why_unusable(self, kind: str, name: str) -> str:
        for plugin in self.plugins:
            if any((each.kind, each.name) == (kind, name) for each in plugin.registrations):
                return f"{name!r} is registered by {plugin}, which is {plugin.status.value}: {plugin.reason}"
        offered = ", ".join(self.names(kind)) or "none"
        return f"no installed plugin registers {name!r} in {GROUPS[kind]}; there are: {offered}"


def host_version() -> str:
    """Return the version of the installed host."""
    return _version_of(HOST_DISTRIBUTION) or "0+unknown"


def host_metadata() -> tuple[str, str, str]:
    """Return version, METADATA and entry_points.txt of the host, so that a wheel can be made of it."""
    dist = importlib_metadata.distribution(HOST_DISTRIBUTION)
    return dist.version, dist.read_text("METADATA") or "", dist.read_text("entry_points.txt") or ""


def installed_packages() -> dict[str, str]:
    """Return name -> version of every distribution that can be imported here, for the record of a result."""
    return {dist.name: dist.version for dist in importlib_metadata.distributions()}


def owner_of(package: str) -> tuple[str, str] | None:
    """Return name and version of the distribution that installed a top-level package, if any did."""
    owners = importlib_metadata.packages_distributions().get(package)
    return None if not owners else (owners[0], importlib_metadata.version(owners[0]))


def _version_of(distribution: str) -> str | None:
    try:
        return importlib_metadata.version(distribution)
    except importlib_metadata.PackageNotFoundError:
        return None


def _requirements_of(distribution: str) -> Sequence[str]:
    try:
        return tuple(importlib_metadata.requires(distribution) or ())
    except importlib_metadata.PackageNotFoundError:
        return ()


def _installed() -> Iterator[Plugin]:
    """Yield every distribution that registers something; of two copies of one, that which Python imports."""
    seen: set[str] = set()
    for dist in importlib_metadata.distributions():
        try:
            entry_points = [each for each in dist.entry_points if each.group in GROUPS.values()]
        except Exception as error:
            # Every tool that reads entry points fails at this file: it is reported where it names our groups.
            text = dist.read_text("entry_points.txt") or ""
            if not any(group in text for group in GROUPS.values()):
                continue
            entry_points, broken = [], f"its entry_points.txt cannot be read: {type(error).__name__}: {error}"
        else:
            broken = ""
        if not (entry_points or broken):
            continue
        plugin = _described(dist)
        if canonicalize_name(plugin.distribution) in seen:
            continue
        seen.add(canonicalize_name(plugin.distribution))
        kinds = {group: kind for kind, group in GROUPS.items()}
        plugin.registrations.extend(
            Registration(kinds[each.group], each.name, each.value, plugin.distribution, plugin.version, each)
            for each in entry_points
        )
        if broken:
            plugin.fail(broken)
        yield plugin


def _described(dist: Any) -> Plugin:
    """Return name, version and requirements, with the metadata parsed once."""
    try:
        metadata = dist.metadata
        name, version = metadata["Name"], metadata["Version"]
    except Exception:
        name = version = None
    if name is None or version is None:
        plugin = Plugin(getattr(getattr(dist, "_path", None), "stem", "unknown"), version or "")
        plugin.fail("its METADATA has no name or version: install it again")
        return plugin
    return Plugin(
        name,
        version,
        requires=tuple(metadata.get_all("Requires-Dist") or ()),
        requires_python=metadata.get("Requires-Python") or "",
    )


def _check_metadata(plugin: Plugin, version_of: VersionOf, requirements_of: RequirementsOf) -> None:
    """Note what metadata alone show: a host that is too old, a package that is not installed."""
    for reason in unmet(plugin.requires, plugin.requires_python, version_of, requirements_of):
        plugin.fail(reason)
    for each in plugin.registrations:
        try:
            each.entry_point.module  # noqa: B018 - parsed when asked for
        except ValueError:
            plugin.fail(
                f"{each.name} = {each.value!r} in {GROUPS[each.kind]} is not of the form module:Class"
            )


def _check_kind(registration: Registration, loaded: Any) -> None:
    """Check that what an entry point gave is what its group promises."""
    kind = registration.kind
    if kind == "hooks":
        return
    from dicomnode.dicom.elements.virtual_element import VirtualElement
    from dicomnode.pipeline.inputs import AbstractInput
    from dicomnode.pipeline.outputs import PipelineOutput
    from dicomnode.pipeline.pipelines import AbstractPipeline

    wanted: type[Any] = {
        "pipelines": AbstractPipeline,
        "inputs": AbstractInput,
        "elements": VirtualElement,
        "outputs": PipelineOutput,
    }[kind]
    if not (isinstance(loaded, type) and issubclass(loaded, wanted)):
        msg = f"the group {GROUPS[kind]} takes subclasses of {wanted.__name__}, not {loaded!r}"
        raise TypeError(msg)
    if inspect.isabstract(loaded):
        missing = ", ".join(sorted(getattr(loaded, "__abstractmethods__", ())))
        msg = f"{loaded.__name__} is abstract: it does not define {missing}"
        raise TypeError(msg)
    if kind == "outputs" and getattr(loaded, "name", None) != registration.name:
        msg = (
            f"{loaded.__name__}.name is {getattr(loaded, 'name', None)!r}, and its entry point is "
            f"{registration.name!r}: they must be the same, since the outbox finds the class again by it"
        )
        raise ValueError(msg)
