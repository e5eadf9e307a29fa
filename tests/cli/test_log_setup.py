"""The log: where it goes, what a line looks like, and what never gets into it."""

import io
import json
import logging
import os
import re
import socket
import stat
import sys
import threading
import warnings
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.cli import log_setup
from dicomnode.cli.log_setup import JournalHandler, JSONFormatter, TextFormatter, is_journal, set_up_logging
from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import LogTable
from dicomnode.host.foundation import log_context
from dicomnode.host.foundation.events import Event, Events, Station


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Return what sets logging up as configured and gives the lines of the file; all is undone at the end."""
    root, ours, python = (logging.getLogger(name) for name in ("", "dicomnode", "py.warnings"))
    before = (root.handlers[:], root.level, ours.level, python.level, logging.raiseExceptions)
    hooks = threading.excepthook, sys.excepthook, sys.unraisablehook
    file = tmp_path / "log"

    def set_up(**table):
        set_up_logging(LogTable(**{"file": file, **table}))
        return lambda: file.read_text(encoding="utf-8").splitlines()

    yield set_up
    logging.captureWarnings(False)
    for handler in root.handlers:
        if handler not in before[0]:
            with suppress(OSError):  # of the one whose disk is full
                handler.close()
    root.handlers[:] = before[0]
    for logger, level in zip((root, ours, python), before[1:4], strict=True):
        logger.setLevel(level)
    logging.raiseExceptions = before[4]
    threading.excepthook, sys.excepthook, sys.unraisablehook = hooks


def raise_(error, cause=None):
    raise error from cause


def record(message, **fields):
    """Return a record as a logger makes it."""
    made = logging.LogRecord("dicomnode.host", logging.INFO, "file", 1, message, (), None)
    made.__dict__.update(fields)
    return made


@given(st.text(max_size=3000), st.text(max_size=50))
def test_no_control_character_reaches_the_log(message, value):
    """Whatever is logged, a record is one line of printable characters, in text and in JSON."""
    each = record(message, job=value)
    text = TextFormatter().format(each)
    assert text.isprintable()
    told = json.loads(JSONFormatter().format(each))
    assert told["message"].isprintable()
    assert told.get("job", "").isprintable()
    assert len(text) < 20_000


def test_an_event_names_its_pipeline_job_and_station(log):
    """In JSON as fields of their own; in text at the end of the line."""
    lines = log(format="json")
    Events().tell(Event(Station.JOB, "queued", pipeline="smooth", job="17"))
    (line,) = map(json.loads, lines())
    assert (line["message"], line["station"], line["pipeline"], line["job"]) == (
        "job: queued",
        "job",
        "smooth",
        "17",
    )
    assert line["level"] == "INFO"
    assert line["time"].endswith("+00:00")
    lines = log()
    Events().tell(Event(Station.JOB, "queued", pipeline="smooth", job="17"))
    assert re.search(r"INFO    dicomnode\.host: job: queued pipeline=smooth job=17$", lines()[-1])


def test_lines_of_a_thread_name_the_association_that_it_serves(log):
    """Whoever logs: the receiver, reception, a library's warning; and no other thread's lines do."""
    lines = log(format="json")

    def serve():
        log_context.association.set("ab12")
        logging.getLogger("dicomnode.host.receiver.connection").info("association from X")
        logging.getLogger("another.library").warning("careful")

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    logging.getLogger("dicomnode.host").info("elsewhere")
    assert [json.loads(line).get("association") for line in lines()] == ["ab12", "ab12", None]


@pytest.mark.parametrize(("level", "shown"), [("INFO", False), ("DEBUG", True)])
def test_texts_of_exceptions_are_for_debug(log, level, shown):
    """They may quote a patient. Types and places of the whole chain are shown at any level."""
    lines = log(level=level)
    name = "\x1b[2J".join(["Jansen", "Jan"])
    try:
        try:
            {}[name]
        except KeyError as error:
            raise_(ValueError(name), error)
    except ValueError:
        logging.getLogger("dicomnode.host").exception("something failed")
    text = "\n".join(lines())
    assert ("Jansen" in text) is shown
    assert "KeyError" in text
    assert "ValueError" in text
    assert "test_log_setup.py" in text
    assert "\x1b" not in text


def test_what_an_operator_can_mend_is_said_at_any_level(log):
    """A full disk, a damaged ledger, a wrong configuration: their texts hold no image's data."""
    lines = log()
    for error in (
        OSError(28, "No space left on device", "/spool/x"),
        ConfigurationError("host.bind is wrong"),
    ):
        try:
            raise_(error)
        except Exception:
            logging.getLogger("dicomnode.host").exception("it failed")
    text = "\n".join(lines())
    assert "OSError: No space left on device" in text
    assert "ConfigurationError: host.bind is wrong" in text


def test_what_python_would_print_goes_through_the_log(log, capfd):
    """Warnings of libraries (which show values) only at DEBUG; what ends a thread or the process always."""
    lines = log()
    warnings.warn("Invalid value for VR UI: 'Jansen'", stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0, name="sorter-smooth")
    thread.start()
    thread.join()
    sys.excepthook(ValueError, ValueError("Jansen"), None)
    text = "\n".join(lines())
    assert "Jansen" not in text
    assert "the thread sorter-smooth ended with an error" in text
    assert "ZeroDivisionError" in text
    assert "CRITICAL dicomnode: ended with an error" in text
    assert capfd.readouterr().err == ""
    lines = log(level="DEBUG")
    warnings.warn("Invalid value for VR UI: 'Jansen'", stacklevel=1)
    assert "Invalid value for VR UI: 'Jansen'" in "\n".join(lines())


def test_a_log_that_cannot_be_written_stops_nothing(log, capfd):
    """The record is lost; nothing is raised, and nothing printed that would end up elsewhere."""
    log(file="/dev/full")
    logging.getLogger("dicomnode.host").error("no room")
    assert capfd.readouterr().err == ""


def test_a_file_that_cannot_be_made_is_a_configuration_error(tmp_path):
    """It names the key, the file and why."""
    with pytest.raises(
        ConfigurationError, match=r"log\.file: .*/nowhere/log cannot be written: No such file"
    ):
        set_up_logging(LogTable(file=tmp_path / "nowhere" / "log"))
    with pytest.raises(ConfigurationError, match=r"^DICOMNODE_LOG__FILE: log\.file: "):
        set_up_logging(LogTable(file=tmp_path / "nowhere" / "log"), "DICOMNODE_LOG__FILE: log.file")


def test_a_file_that_was_moved_away_is_made_anew(log, tmp_path):
    """So that logrotate needs to tell nobody."""
    lines = log()
    logging.getLogger("dicomnode").info("before")
    (tmp_path / "log").rename(tmp_path / "log.1")
    logging.getLogger("dicomnode").info("after")
    assert "after" in lines()[0]
    assert "before" in (tmp_path / "log.1").read_text()


def test_a_file_is_for_its_owner_alone(log, tmp_path):
    """At first and after a rotation, whatever the umask; one that logrotate has made stays as it is."""
    umask = os.umask(0)
    try:
        log()
        assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
        (tmp_path / "log").rename(tmp_path / "log.1")
        logging.getLogger("dicomnode").info("after")
        assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
        (tmp_path / "log").rename(tmp_path / "log.2")
        (tmp_path / "log").touch(0o640)
        logging.getLogger("dicomnode").info("after another")
        assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640
    finally:
        os.umask(umask)


def test_without_a_file_the_log_is_on_stderr(log, capfd):
    """The default."""
    log(file=None)
    logging.getLogger("dicomnode.host").info("here")
    assert "INFO    dicomnode.host: here" in capfd.readouterr().err


def test_the_journal_gets_message_priority_and_fields(tmp_path):
    """Its own protocol; a traceback makes a message of several lines; the journal keeps the time itself."""
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        handler = JournalHandler(path)
        handler.setFormatter(TextFormatter(journal=True))
        handler.emit(record("job: queued", job="17", pipeline="smooth", station="job", association="ab\n12"))
        got = dict(line.split("=", 1) for line in journal.recv(65536).decode().splitlines())
        assert got == {
            "MESSAGE": r"dicomnode.host: job: queued pipeline=smooth job=17 association=ab\n12",
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "dicomnode-host",
            "DICOMNODE_LOGGER": "dicomnode.host",
            "DICOMNODE_STATION": "job",
            "DICOMNODE_PIPELINE": "smooth",
            "DICOMNODE_JOB": "17",
            "DICOMNODE_ASSOCIATION": r"ab\n12",
        }
        try:
            raise_(ValueError())
        except ValueError:
            handler.emit(record("failed", exc_info=sys.exc_info()))
        sent = journal.recv(65536)
        length = int.from_bytes(sent[8:16], "little")
        message = sent[16 : 16 + length].decode()
        assert sent.startswith(b"MESSAGE\n")
        assert message.splitlines()[0] == "dicomnode.host: failed"
        assert "ValueError" in message
        assert sent[16 + length :].startswith(b"\nPRIORITY=6\n")
        handler.close()


def test_stderr_is_the_journal_only_where_systemd_says_so(tmp_path, monkeypatch, log):
    """JOURNAL_STREAM is inherited by processes whose stderr is something else; a log file is never meant."""
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        told = f"{status.st_dev}:{status.st_ino}"
        assert is_journal(stream, told)
        assert not is_journal(stream, "")
        assert not is_journal(sys.__stderr__, told)
        assert not is_journal(io.StringIO(), told)
        monkeypatch.setenv("JOURNAL_STREAM", told)
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(log_setup, "JOURNAL", str(tmp_path / "no socket"))
        lines = log()
        logging.getLogger("dicomnode").info("to the file")
        assert re.match(r"\d{4}-", lines()[0])
