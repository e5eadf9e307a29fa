"""Write the reference pages that the code itself can tell: configuration file, command line, statuses.

``python tools/make_reference.py``; ``tests/test_reference.py`` holds the pages to it.
"""

# ruff: noqa: E501 - the lines of the pages are as long as those of the other pages

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from dicomnode.cli import exit_codes, root
from dicomnode.cli.config import toml_value
from dicomnode.cli.group import COMMANDS
from dicomnode.host.configuration import config as tables
from dicomnode.host.configuration.config_values import Address
from dicomnode.host.parsing.statuses import PEER_STATUSES, Status
from dicomnode.plugins.declared_tables import DeclaredPipeline

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
CLASSES = {
    "[host]": tables.HostTable,
    "[receiver]": tables.ReceiverTable,
    "[tls]": tables.TLSTable,
    "[peers.NAME]": tables.PeerTable,
    "[peers.NAME.tls]": tables.PeerTLSTable,
    "[pipelines.NAME]": tables.PipelineTable,
    "[delivery]": tables.DeliveryTable,
    "[retention]": tables.RetentionTable,
    "[plugins]": tables.PluginsTable,
    "[log]": tables.LogTable,
}
HEAD = """# The configuration file

<!-- written by tools/make_reference.py: change that, or the docstrings of the configuration's classes -->

One TOML file, given with `--config FILE` or in the environment variable `DICOMNODE_CONFIG`. Without a file every
installed [pipeline] runs with its class's defaults, on 127.0.0.1:11112. `dicomnode-host config` prints what is in force and
where each value comes from; `dicomnode-host check` finds out whether it works. Words such as [AE title][ae-title], [peer],
[association], [destination], [settle] and [quarantine] are explained in the [glossary](glossary.md).

**Paths** that are relative are relative to the file's folder; `~` is the user's home.

**Durations** are seconds, or text such as `"30 s"`, `"10 min"`, `"2 h"`, `"14 d"`. **Sizes** are bytes, or text such as
`"500 MB"`, `"2 GB"` (of 1024). **Addresses** are `"HOST:PORT"`.

**Secrets** (`key_password`, and [settings] of [plugins][plugin] that their authors marked so) are text, or better stand where they are
kept: `{ env = "VARIABLE" }` or `{ file = "/path" }`. They are shown as asterisks wherever configuration is shown.
[Workers][worker] read them again where they are kept; variables whose names begin with `DICOMNODE_` do not reach workers.

**The environment** overrides every key: `DICOMNODE_`, then the tables and the key in capitals, with two underscores between
them and one for a hyphen. Values are as in TOML; what is no TOML value is text. An empty variable unsets a key, so that its
default holds, whatever the file says; empty text is `'""'`.

```sh
DICOMNODE_HOST__BIND=0.0.0.0:11112
DICOMNODE_PEERS__PACS__TIMEOUT="2 min"
DICOMNODE_PIPELINES__PET_CT__SETTINGS__SIGMA=2.5
DICOMNODE_PLUGINS__DISABLED='["acme-rules"]'
DICOMNODE_LOG__FILE=
```

**Mistakes** are reported all at once, by file, line and key, or by the variable that sets it: first everything that the
configuration alone shows (keys, values, names of peers that there are not), and once that is right, everything that the
plugins say (pipelines that are not installed, their settings, resources, AE titles that are taken):

```text
dicomnode.toml:2: host.bnd: unknown key; did you mean bind?
dicomnode.toml:9: pipelines.smooth.settings.sigma: Input should be a valid number (pipeline Smooth of acme-smooth 1.0)
DICOMNODE_HOST__DRAIN: host.drain: a duration is a number of seconds, or text such as '30 s', '10 min', '2 h' or '14 d'
```

`SIGHUP` reads the file again for `[peers]` and `host.allow`; everything else needs a restart, and the log says so.
"""
CONFIGURATION_TERMS = (
    "ae-title", "association", "destination", "peer", "pipeline", "plugin", "quarantine", "settings", "settle", "worker",
)  # fmt: skip


def configuration() -> str:
    """Return the page about the configuration file."""
    sections = (_section(title, kind) for title, kind in CLASSES.items())
    return "\n".join([HEAD, *sections, _links(CONFIGURATION_TERMS)])


def _links(terms: Iterable[str]) -> str:
    """Return what makes ``[job]`` a link to the glossary."""
    return "".join(f"[{term}]: glossary.md#{term}\n" for term in terms)


def _section(title: str, kind: type[BaseModel]) -> str:
    told = inspect.getdoc(kind) or ""
    summary, _, rest = told.partition("\n\nAttributes\n")
    intro = " ".join(re.sub(r"^``.*?``: ", "", summary).split())
    intro = intro[0].upper() + intro[1:]
    meanings = _meanings(rest)
    own = [each for each in kind.model_fields if not (kind is tables.PipelineTable and each in _DECLARED)]
    missing = [name for name in own if name not in meanings]
    if missing:
        raise SystemExit(f"{kind.__name__} does not say what {', '.join(missing)} is")
    rows = [_row(name, kind.model_fields[name], meanings[name]) for name in own]
    head = f"## `{title}`\n\n{_prose(intro)}\n\n| key | value | default | meaning |\n|---|---|---|---|"
    return "\n".join([head, *rows, ""])


_DECLARED = set(DeclaredPipeline.model_fields)


def _meanings(text: str) -> dict[str, str]:
    """Return key -> what a numpydoc section says of it."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        if header := re.match(r"(\w[\w, ]*) : ", line):
            names = header[1].split(", ")
            found.update(dict.fromkeys(names, ""))
        elif names and line.startswith("    "):
            for name in names:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def _row(name: str, info: FieldInfo, meaning: str) -> str:
    kind = _kind(info.annotation, str(info))
    default = info.default
    if info.is_required():
        shown = "must be set"
    elif name == "data":
        shown = "the user's data directory"
    elif info.default_factory is not None or default in (None, {}, ()):
        shown = ""
    elif kind in {"size", "duration"}:
        shown = f'`"{_amount(default, kind)}"`'
    else:
        shown = f"`{toml_value(str(default) if isinstance(default, Address) else default)}`"
    return f"| `{name}` | {kind} | {shown} | {_prose(meaning)} |"


def _amount(number: float, kind: str) -> str:
    """Return a size or duration with the largest unit that fits."""
    units = {"size": ((2**30, "GB"), (2**20, "MB"), (2**10, "kB")), "duration": _TIMES}[kind]
    for size, unit in units:
        if number and number % size == 0:
            return f"{number / size:g} {unit}"
    return f"{number:g} s" if kind == "duration" else f"{number:g}"


_TIMES = ((86400, "d"), (3600, "h"), (60, "min"))


def _kind(annotation: Any, told: str) -> str:  # noqa: PLR0911 - a kind each
    """Return what may be written, in words."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0], str(get_args(annotation)[1:]))
    if origin in {Union, UnionType}:
        kinds = [_kind(each, str(each)) for each in get_args(annotation) if each is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is Literal:
        return ", ".join(f"`{toml_value(each)}`" for each in get_args(annotation))
    if origin is tuple:
        return f"list of {_kind(get_args(annotation)[0], '')}"
    if "_seconds" in told:
        return "duration"
    if "_bytes" in told:
        return "size"
    words = {str: "text", int: "number", float: "duration", bool: "true or false", Path: "path"}
    words |= {Address: "address", SecretStr: "secret", dict: "table"}
    return words.get(origin or annotation, "table")


def _prose(text: str) -> str:
    """Turn reStructuredText into Markdown."""
    text = re.sub(r":\w+:`~?\.?([\w.]+)`", lambda match: f"`{match[1].rpartition('.')[2]}`", text)
    return text.replace("``", "`").replace("|", "\\|")


# -- the command line -------------------------------------------------------------------------------------

COMMANDS_HEAD = """# The command line

<!-- written by tools/make_reference.py: change that, or what the commands say of themselves -->

`dicomnode-host COMMAND --help` says the same. Every command takes `--config FILE` (or `DICOMNODE_CONFIG`); those that print
something take `--json`. [Plugins][plugin] can add commands of their own (`dicomnode_commands`). Words such as [job],
[dead letter][dead-letter], [input], [delivery], [association] and [quarantine] are explained in the [glossary](glossary.md).

| exit code | means |
|---|---|
"""


COMMAND_TERMS = ("association", "dead-letter", "delivery", "input", "job", "plugin", "quarantine")


def command_line() -> str:
    """Return the page about the commands."""
    codes = re.findall(r"^(\d+)  +(.*)$", exit_codes.__doc__ or "", re.M)
    rows = "\n".join(f"| {code} | {meaning} |" for code, meaning in codes)
    parts = [COMMANDS_HEAD + rows + "\n", _command("", root.group)]
    for name in sorted(COMMANDS):
        module, _, attribute = COMMANDS[name].partition(":")
        parts.append(_command(name, getattr(import_module(f"dicomnode.cli.{module}"), attribute)))
    parts.append(_links(COMMAND_TERMS))
    return "\n".join(parts)


def _command(name: str, command: click.Command) -> str:
    told = inspect.cleandoc(command.help or "")
    arguments = [
        each.make_metavar(click.Context(command))
        for each in command.params
        if each.param_type_name == "argument"
    ]
    usage = " ".join(["dicomnode-host", *([name] if name else []), *arguments])
    lines = [f"## `{usage}`", "", told.replace("``", "`"), ""]
    options = [each for each in command.params if isinstance(each, click.Option) and each.name not in _COMMON]
    if options:
        lines += ["| option | |", "|---|---|"]
        for each in options:
            value = "" if each.is_flag else f" {each.make_metavar(click.Context(command))}"
            lines.append(
                f"| `{', '.join(each.opts)}{value}` | {(each.help or '').replace('|', chr(92) + '|')} |"
            )
        lines.append("")
    return "\n".join(lines)


_COMMON = {"config", "as_json"}


# -- statuses ---------------------------------------------------------------------------------------------

STATUSES_HEAD = """# Statuses

<!-- written by tools/make_reference.py: change that, or core/dicomnode/host/parsing/statuses.py -->

The Status (0000,0900) of a DIMSE response says what became of a request. A failure of this node comes with an Error
Comment (0000,0902), which says more, such as the tag at which a data set cannot be read; the log has the status and, at
INFO, a reason that quotes no image. Words such as [instance], [peer], [storage commitment][storage-commitment] and
[quarantine] are explained in the [glossary](glossary.md).

## What this node answers

Only 0x0000 means that an instance is stored: this node never answers with a warning (0xBxxx), which senders take for
"stored". Whether an image is wanted depends on the image and on the rules alone, so the same image gets the same answer.

| status | name | in answer to | what happened | standard |
|---|---|---|---|---|
"""
PEERS_HEAD = """
## What peers answer

The first line that fits holds. An instance that is *stored* is confirmed; one that is *refused* is a [dead letter][dead-letter], because
the peer would say so again; to *retry* is to send it again later, as it is for a status that is not in this table, and for
no answer at all. See [Deliver results](../how-to/deliver.md).

| status | in answer to | meaning | what becomes of the instance | standard |
|---|---|---|---|---|
"""


def statuses() -> str:
    """Return the page about the statuses of DIMSE responses."""
    ours = [
        f"| `{status:#06x}` | {_words(status.name)} | {status.service} | {status.cause} |"
        f" {status.reference} |"
        for status in Status
    ]
    theirs = [
        f"| {_codes(known.first, known.last)} | {known.service.value} | {known.meaning} |"
        f" {known.verdict.value if known.verdict else ''} | {known.reference} |"
        for known in PEER_STATUSES
    ]
    links = _links(("dead-letter", "instance", "peer", "quarantine", "storage-commitment"))
    return "\n".join([STATUSES_HEAD + "\n".join(ours), PEERS_HEAD + "\n".join(theirs), "", links])


def _words(name: str) -> str:
    return name.lower().replace("_", " ").replace("uid", "UID").replace("sop", "SOP")


def _codes(first: int, last: int) -> str:
    return f"`{first:#06x}`" if first == last else f"`{first:#06x}` to `{last:#06x}`"


PAGES = {"configuration.md": configuration, "command-line.md": command_line, "statuses.md": statuses}

if __name__ == "__main__":
    for name, made in PAGES.items():
        (REFERENCE / name).write_text(made(), encoding="utf-8")
