"""Where the log goes, and what a line looks like.

Whatever is logged passes through here last: no control character reaches the log, and the texts of
exceptions, which may quote a patient's data, reach it at DEBUG only.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import Any, TextIO, cast

from dicomnode.dicom.values.safe import safe_text
from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import LogTable
from dicomnode.host.foundation.error_text import harmless_text
from dicomnode.host.foundation.excepthooks import install_excepthooks
from dicomnode.host.foundation.log_context import association

FIELDS = ("station", "pipeline", "job", "association")
"""What a record may say of itself besides its message: attributes of it, given as ``extra``."""

JOURNAL = "/run/systemd/journal/socket"
_LONGEST = 2000
_SYSLOG = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

_LOG = logging.getLogger("dicomnode")


class _Safe(logging.Formatter):
    """No control character of whatever was logged reaches the log; a traceback keeps its lines."""

    def message(self, record: logging.LogRecord) -> str:
        """Return the message, safe."""
        return safe_text(record.getMessage(), longest=_LONGEST)

    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        """Return those of :data:`FIELDS` that the record has, safe."""
        return {name: safe_text(value) for name in FIELDS if (value := getattr(record, name, ""))}

    def trace(self, record: logging.LogRecord) -> list[str]:
        """Return the lines of the traceback, if there is one, safe."""
        if not record.exc_info or record.exc_info[1] is None:
            return []
        whole = logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        lines = _traceback(record.exc_info[1], whole=whole)
        return [safe_text(line, longest=_LONGEST) for line in lines]


class TextFormatter(_Safe):
    """One line a record: time, level, logger, message, fields; a traceback follows, indented.

    Parameters
    ----------
    journal : bool
        Whether the journal adds time and level.
    """

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = "".join(
            f" {name}={value}" for name, value in self.fields(record).items() if name != "station"
        )
        trace = "".join(f"\n    {line}" for line in self.trace(record))
        rest = f"{record.name}: {self.message(record)}{fields}{trace}"
        if self._journal:
            return rest
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        return f"{when} {record.levelname:7} {rest}"


class JSONFormatter(_Safe):
    """One JSON object a record, with station, pipeline, job and association where they are known."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        plain: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": self.message(record),
            **self.fields(record),
        }
        if trace := self.trace(record):
            plain["traceback"] = trace
        return json.dumps(plain, ensure_ascii=False)


class JournalHandler(logging.Handler):
    """Speaks the journal's own protocol, so that ``journalctl DICOMNODE_JOB=17`` finds what belongs to a job.

    Parameters
    ----------
    path : str
        The journal's socket.

    Raises
    ------
    OSError
        When there is no journal.
    """

    def __init__(self, path: str = JOURNAL) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            fields = {
                "MESSAGE": self.format(record),
                "PRIORITY": str(_SYSLOG.get(record.levelno, 6)),
                "SYSLOG_IDENTIFIER": "dicomnode-host",
                "DICOMNODE_LOGGER": record.name,
            }
            for name in FIELDS:
                if value := getattr(record, name, ""):
                    fields[f"DICOMNODE_{name.upper()}"] = safe_text(value)
            self._socket.send(b"".join(_journal_field(name, value) for name, value in fields.items()))
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
        super().close()


class _LogFile(logging.handlers.WatchedFileHandler):
    """A file for its owner alone where it is made here, at first and after each rotation.

    One that is there already, made by logrotate for instance, keeps the permissions that it has.
    """

    def _open(self) -> TextIOWrapper:
        opened = open(  # noqa: SIM115 - the handler closes it; only open() takes an opener
            self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=_for_owner
        )
        return cast(TextIOWrapper, opened)


def _for_owner(file: str, flags: int) -> int:
    return os.open(file, flags, 0o600)


def set_up_logging(table: LogTable, named: str = "log.file") -> None:
    """Send the log of the host, and of the libraries' warnings, where the configuration says.

    Without ``log.file`` that is stderr; where stderr is the journal, the journal.

    Parameters
    ----------
    table : LogTable
        The configuration.
    named : str
        How a message calls the key of the file, with where it is set.

    Raises
    ------
    ConfigurationError
        When the file cannot be written.
    """
    handler, journal = _handler(table, named)
    handler.setFormatter(JSONFormatter() if table.format == "json" else TextFormatter(journal=journal))
    handler.addFilter(_with_association)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _LOG.setLevel(table.level)
    logging.raiseExceptions = False  # a log that cannot be written must not stop anything, nor print records
    install_excepthooks(debug=table.level == "DEBUG")


def _handler(table: LogTable, named: str) -> tuple[logging.Handler, bool]:
    """Return where records go, and whether that is the journal."""
    if table.file is not None:
        file = table.file.expanduser()
        try:
            return _LogFile(file, encoding="utf-8"), False
        except OSError as error:
            msg = f"{named}: {file} cannot be written: {error.strerror}"
            raise ConfigurationError(msg) from error
    if is_journal(sys.stderr, os.environ.get("JOURNAL_STREAM", "")):
        try:
            return JournalHandler(), True
        except OSError:
            pass  # no such socket here: what is printed reaches the journal all the same
    return logging.StreamHandler(sys.stderr), False


def is_journal(stream: TextIO, journal_stream: str) -> bool:
    """Say whether a stream is the journal: ``JOURNAL_STREAM`` is device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def _with_association(record: logging.LogRecord) -> bool:
    """Note on a record which association its thread serves; it is called there."""
    if not getattr(record, "association", "") and (served := association.get()):
        record.association = served
    return True


def _traceback(error: BaseException, *, whole: bool) -> Iterator[str]:
    """Yield the lines of a traceback, with the texts of exceptions only where that is wanted."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        context = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or context
    for number, each in enumerate(reversed(chain)):
        if number:
            yield "and then:"
        for frame in traceback.extract_tb(each.__traceback__):
            yield f'File "{frame.filename}", line {frame.lineno}, in {frame.name}: {frame.line or ""}'
        yield f"{type(each).__qualname__}{_text_of(each, whole=whole)}"


def _text_of(error: BaseException, *, whole: bool) -> str:
    try:
        if whole:
            return f": {error}"
        if text := harmless_text(error):
            return f": {text}"
    except Exception:
        return ": (its text cannot be shown)"
    return " (its text is logged at DEBUG)"


def _journal_field(name: str, value: str) -> bytes:
    """Encode a field; a value with line ends is sent by its length (systemd's native protocol)."""
    data = value.encode("utf-8", "replace")
    if b"\n" not in data:
        return b"%b=%b\n" % (name.encode(), data)
    return b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(8, "little"), data)


__all__ = [
    "FIELDS",
    "JSONFormatter",
    "JournalHandler",
    "TextFormatter",
    "is_journal",
    "set_up_logging",
]
