"""Objects by ``module:name``."""

from __future__ import annotations

from functools import reduce
from importlib import import_module
from typing import Any

from dicomnode.errors import ConfigurationError


def import_object(reference: str, where: str) -> Any:
    """Import an object by ``module:name``.

    Parameters
    ----------
    reference : str
        The reference; ``module:Class.attribute`` works too.
    where : str
        The key that names it, for messages.

    Raises
    ------
    ConfigurationError
        When the reference has another form, or the object cannot be imported, whatever the import does.
    """
    module, colon, name = reference.partition(":")
    if not (module and colon and name):
        msg = f"{where}: {reference!r} is not of the form module:name"
        raise ConfigurationError(msg)
    try:
        return reduce(getattr, name.split("."), import_module(module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: an import must not end the host
        msg = f"{where}: {reference} cannot be imported: {type(error).__name__}: {error}"
        raise ConfigurationError(msg) from error
