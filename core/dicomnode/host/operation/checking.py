"""Whether everything is as the configuration says, for ``dicomnode-host check``."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.configured_pipeline import (
    ConfiguredPipeline,
    EnvironmentResolver,
    checked_pipelines,
)
from dicomnode.host.configuration.receiver_building import receiver_settings
from dicomnode.host.dimse.pynetdicom_private import silence_loggers
from dicomnode.host.dimse.tls import ServerTLS
from dicomnode.host.operation.checking_disk import check_data, check_folders
from dicomnode.host.operation.checking_peers import check_peers
from dicomnode.host.operation.finding import Finding, Verdict
from dicomnode.host.operation.operations import Operations
from dicomnode.plugins.probe import find_problems
from dicomnode.plugins.registry import HOST_DISTRIBUTION, Registry


def check_node(config: Config, environments: EnvironmentResolver) -> Iterator[Finding]:
    """Check everything that a node needs; yield each finding as soon as it is known.

    Nothing is changed, but for a file that is made in the data directory and removed again.

    Parameters
    ----------
    config : Config
        The configuration.
    environments : EnvironmentResolver
        Makes pipelines of other environments.
    """
    silence_loggers()
    operations = Operations(config)
    live = operations.live_status()
    registry = Registry(config.plugins.disabled, config.plugins.only)
    yield from _plugins(registry, config)
    configured_pipelines: list[ConfiguredPipeline] = []
    yield from _pipelines(registry, config, environments, configured_pipelines, live)
    yield from _receiver(config, live)
    reserve = config.host.reserve if live is None else live["reserve"]  # what the host was started with
    yield from check_data(operations, reserve)
    yield from check_folders(config, configured_pipelines)
    yield from check_peers(config)


# -- plugins and pipelines ----------------------------------------------------------------------------------


def _plugins(registry: Registry, config: Config) -> Iterator[Finding]:
    """Load each plugin in a process of its own, so that one that ends its process is told like any other."""
    find_problems(registry)
    for name in registry.unknown([*config.plugins.disabled, *(config.plugins.only or ())]):
        yield Finding("plugins", name, Verdict.WARNING, "named in [plugins], but it registers nothing here")
    for plugin in registry.plugins:
        if plugin.distribution == HOST_DISTRIBUTION:
            continue
        verdict = Verdict.WARNING if plugin.broken else Verdict.OK
        yield Finding("plugins", str(plugin), verdict, plugin.reason or plugin.status.value)


def _pipelines(
    registry: Registry,
    config: Config,
    environments: EnvironmentResolver,
    configured_pipelines: list[ConfiguredPipeline],
    live: Mapping[str, Any] | None,
) -> Iterator[Finding]:
    left_out = Verdict.WARNING if config.pipelines is None else Verdict.FAILED
    names = registry.names("pipelines") if config.pipelines is None else list(config.pipelines)
    broken = {name: trouble for name in names if (trouble := _broken(registry, config, name)) is not None}
    for name, trouble in broken.items():
        yield Finding("pipelines", name, left_out, trouble)
    running = (live or {}).get("pipelines", {})
    unchecked = False
    for each in checked_pipelines(config, registry, environments, skipped=broken):
        if each.lacks_only_variables and each.name in running:
            # It is this command's environment that lacks them: the service has one of its own.
            lacking = ", ".join(each.variables)
            message = (
                f"not checked: the variable {lacking} is not set here; the running host has been given it"
            )
            yield Finding("pipelines", each.name, Verdict.WARNING, message)
            unchecked = True
            continue
        for problem in each.problems:
            yield Finding(
                "pipelines", each.name, left_out if each.configured is None else Verdict.FAILED, problem
            )
        if each.configured is None:
            continue
        configured_pipelines.append(each.configured)
        if not each.problems:
            whose = f"{each.configured.registration.distribution} {each.configured.registration.version}"
            message = f"{whose}, called {each.ae_title}, to {', '.join(each.configured.destinations)}"
            yield Finding("pipelines", each.name, Verdict.OK, message)
    if not configured_pipelines and not unchecked:
        yield Finding("pipelines", "", Verdict.FAILED, "no pipeline can run")


def _broken(registry: Registry, config: Config, name: str) -> str | None:
    """Say what is wrong with the plugin of a pipeline, so that it is not imported here."""
    table = (config.pipelines or {}).get(name)
    entry = name if table is None else table.plugin or table.process or name
    for each in registry.registrations("pipelines"):
        if each.name == entry and (plugin := registry.plugin_of(each)).broken:
            return f"{plugin} is {plugin.status.value}: {plugin.reason}"
    return None


# -- the receiver -------------------------------------------------------------------------------------------


def _receiver(config: Config, live: dict[str, Any] | None) -> Iterator[Finding]:
    bind = str(config.host.bind)
    try:
        settings = receiver_settings(config)
        if settings.tls is not None:
            ServerTLS(settings.tls)
    except ConfigurationError as error:
        yield Finding("receiver", bind, Verdict.FAILED, str(error))
        return
    if live is not None:
        message = f"the host of process {live['process']} listens on {live['address']}"
        yield Finding("receiver", bind, Verdict.OK, message)
        return
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        message = f"cannot listen there: {error.strerror}. Stop what uses the port, or set host.bind"
        yield Finding("receiver", bind, Verdict.FAILED, message)
    else:
        yield Finding("receiver", bind, Verdict.OK, "the address is free")
