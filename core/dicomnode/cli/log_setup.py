"""Where the log goes and what a line looks like."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
from datetime import UTC, datetime

from ..dicom.safe import safe_text
from ..host.config import LogTable

_LONGEST = 2000
_SYSLOG = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Safe(logging.Formatter):
    """No control character of whatever was logged reaches the log; a traceback keeps its lines."""

    def message(self, record: logging.LogRecord) -> str:
        """Return the message, safe."""
        return safe_text(record.getMessage(), longest=_LONGEST)

    def trace(self, record: logging.LogRecord) -> str:
        """Return the traceback, if there is one, each line safe."""
        if not record.exc_info or record.exc_info[0] is None:
            return ""
        lines = self.formatException(record.exc_info).splitlines()
        return "".join("\n    " + safe_text(line, longest=_LONGEST) for line in lines)


class TextFormatter(_Safe):
    """One line a record: time, level, logger, message. Below systemd the journal adds time and level."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        rest = f"{record.name}: {self.message(record)}{self.trace(record)}"
        if "JOURNAL_STREAM" in os.environ:
            return f"<{_SYSLOG.get(record.levelno, 6)}>{rest}"
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        return f"{when} {record.levelname:7} {rest}"


class JSONFormatter(_Safe):
    """One JSON object a record, with pipeline, job and association where they are known."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        plain = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": self.message(record),
        }
        for name in ("station", "pipeline", "job", "association"):
            value = getattr(record, name, "")
            if value:
                plain[name] = safe_text(value)
        if trace := self.trace(record):
            plain["traceback"] = trace.strip("\n")
        return json.dumps(plain, ensure_ascii=False)


def set_up_logging(table: LogTable) -> None:
    """Send the log of the host, and of the libraries' warnings, where the configuration says.

    Raises
    ------
    ConfigurationError
        When the file cannot be written.
    """
    from ..errors import ConfigurationError

    handler: logging.Handler
    if table.file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            handler = logging.handlers.WatchedFileHandler(table.file, encoding="utf-8")
        except OSError as error:
            msg = f"log.file: {table.file} cannot be written: {error.strerror}"
            raise ConfigurationError(msg) from error
    handler.setFormatter(JSONFormatter() if table.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("dicomnode").setLevel(table.level)
