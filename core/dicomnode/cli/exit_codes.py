"""The exit codes of ``dicomnode-host``, for scripts.

====  =======================================================================
0     done
1     not done: a plugin is broken, a job is unknown, a peer does not answer
2     the command line or the configuration is wrong
3     the host cannot run here: address taken, data directory unusable or held
130   interrupted
====  =======================================================================
"""

from __future__ import annotations

from dicomnode.errors import ConfigurationError, DataDirectoryError, DicomnodeError, ListenError

DONE = 0
NOT_DONE = 1
WRONG_USE = 2
CANNOT_RUN = 3
INTERRUPTED = 130


def exit_code_of(error: DicomnodeError) -> int:
    """Return the exit code that tells a script what kind of error it was."""
    if isinstance(error, ConfigurationError):
        return WRONG_USE
    if isinstance(error, DataDirectoryError | ListenError):
        return CANNOT_RUN
    return NOT_DONE
