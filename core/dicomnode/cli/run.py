"""``dicomnode-host run``: the node."""

from __future__ import annotations

import gc
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.options import config_option
from dicomnode.cli.service import tell_service_manager
from dicomnode.cli.signals import Signals
from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config_loading import load_config
from dicomnode.host.foundation.gc_tuning import tune_gc

if TYPE_CHECKING:
    from dicomnode.host.host import Host

_LOG = logging.getLogger(__name__)


@click.command()
@config_option
@click.option("--strict", is_flag=True, help="Refuse to start when any installed plugin is broken.")
@click.pass_obj
def run(root_config: Path | None, config: Path | None, *, strict: bool) -> int:
    """Run the node until it is told to stop (SIGTERM, SIGINT).

    SIGHUP reads peers and certificates again.
    """
    from dicomnode.cli.log_setup import set_up_logging
    from dicomnode.host.host import Host

    file = config or root_config
    settings = load_config(file)
    set_up_logging(settings.log, settings.label(("log", "file")))
    host = Host(settings)
    if strict:
        from dicomnode.cli.plugins_list import require_sound

        require_sound(host.registry)
    tune_gc()
    with Signals((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)) as signals, host:
        gc.freeze()  # what waits already
        for line in host.describe():
            if settings.log.format == "json":  # a line that is no object would be a stumbling block
                _LOG.info("%s", line.strip())
            else:
                click.echo(safe_text(line), err=True)
        tell_service_manager("READY=1")
        while signals.wait() is signal.SIGHUP:
            _reload(host, file)
        tell_service_manager("STOPPING=1")
    return 0


def _reload(host: Host, file: Path | None) -> None:
    """Read peers again; a configuration that is wrong changes nothing."""
    try:
        host.reload(load_config(file))
    except ConfigurationError as error:
        _LOG.error("the configuration was not read again: %s", error)
