"""The configuration as data, one class a table. How it is read: :mod:`.config_loading`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from dicomnode.host.configuration.config_sources import ConfigSources, KeyPath
from dicomnode.host.configuration.config_values import (
    Address,
    AddressText,
    AETitle,
    Bytes,
    FilePath,
    Names,
    Network,
    Seconds,
    SecondsOrNone,
)
from dicomnode.host.configuration.references import wrong_references
from dicomnode.pipeline.secret import Secret
from dicomnode.plugins.declared_tables import DeclaredPipeline

WRONG_REFERENCE = "wrong_reference"
"""The kind of error for names that refer to nothing; :func:`.wrong_references` yields all of them."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def default_data_directory() -> Path:
    """Return where a host without configuration keeps its data."""
    return Path(platformdirs.user_data_dir("dicomnode"))


class HostTable(_Table):
    """``[host]``: how this node calls itself, listens, and keeps its data.

    Attributes
    ----------
    ae_title : str
        Its own AE title: the calling one when it sends, and a called one for C-ECHO. Images are sent to the
        AE title of a pipeline.
    bind : Address
        Where it listens.
    data : pathlib.Path
        The data directory: spool, ledger, outbox.
    durability : {"power", "process"}
        What an answer of Success survives: a power cut, or only a crash of the process.
    reserve : int
        Bytes of the disk that stay free: below it, C-STORE is answered 0xA700.
    insecure : bool
        Listen for everybody on an address that others can reach.
    allow : tuple of str
        Who may associate: names of peers, IP addresses and networks. Empty: everybody.
    drain : float
        Seconds that jobs and deliveries get to finish when the host stops.
    settle : float
        Seconds that are waited after the end of the last association that brought an image of a container,
        for senders that open several: for pipelines that do not say otherwise.
    open_association_wait : float
        Seconds for which an open association holds a container back after the last image that it brought: for
        pipelines that do not say otherwise.
    checksum_after : float
        Seconds after which a received file that still waits gets a checksum, so that it is noticed if the
        disk changes it before its job reads it.
    workers : int, optional
        How many jobs run at once over all pipelines, and worker processes are kept; by default as many as the
        ``concurrency`` of the pipelines adds up to. The higher ``priority`` goes first, then the older job.
    resources : mapping of str to int
        What jobs share, such as ``{ gpu = 1 }``.
    """

    ae_title: AETitle = "DICOMNODE"
    bind: AddressText = Address(host="127.0.0.1", port=11112)
    data: FilePath = Field(default_factory=default_data_directory)
    durability: Literal["power", "process"] = "power"
    reserve: Bytes = 512 * 2**20
    insecure: bool = False
    allow: tuple[str, ...] = ()
    drain: Seconds = 30.0
    settle: SecondsOrNone = 5.0
    open_association_wait: Seconds = 120.0
    checksum_after: Seconds = 30.0
    workers: int | None = Field(default=None, ge=1)
    resources: dict[str, int] = {}


class ReceiverTable(_Table):
    """``[receiver]``: what a peer may take; see :class:`~.receiver_settings.ReceiverSettings`.

    Attributes
    ----------
    receivers : int
        Processes that receive, check, and ask the pipelines' rules; 1 is the host's own.
    max_associations, max_associations_per_address : int
        Connections at a time, whatever state they are in; one more is closed at once.
    max_pdu_length : int
        The longest PDU that is taken, in bytes; this node announces it.
    max_object_size : int
        The longest data set that is taken, in bytes.
    acse_timeout : float
        Seconds from the connection to a negotiated association, TLS handshake included.
    pdu_timeout : float
        Seconds from the first byte of a PDU to its last.
    message_timeout : float
        Seconds from the first byte of a message to its last.
    idle_timeout : float
        Seconds that an association may be silent between two messages.
    deflated : bool
        Accept deflated transfer syntaxes.
    extra_sop_classes, extra_transfer_syntaxes : tuple of str
        UIDs to accept besides those that the standard has.
    """

    receivers: int = Field(default=1, ge=1, le=64)
    max_associations: int = Field(default=100, ge=1)
    max_associations_per_address: int = Field(default=25, ge=1)
    max_pdu_length: Bytes = 131_072
    max_object_size: Bytes = 4 * 2**30
    acse_timeout: Seconds = 10.0
    pdu_timeout: Seconds = 30.0
    message_timeout: Seconds = 1800.0
    idle_timeout: Seconds = 300.0
    deflated: bool = False
    extra_sop_classes: tuple[str, ...] = ()
    extra_transfer_syntaxes: tuple[str, ...] = ()


class TLSTable(_Table):
    """``[tls]``: secure transport for what is received (PS3.15 annex B).

    The files are looked at for every connection, so that renewed certificates are used at once.

    Attributes
    ----------
    certificate, key : pathlib.Path
        This node's certificate chain and private key (PEM).
    authorities : pathlib.Path, optional
        The certificates (PEM) that sign the peers': each must show one that they sign (mutual TLS).
    """

    certificate: FilePath
    key: FilePath
    authorities: FilePath | None = None


class LogTable(_Table):
    """``[log]``: where the log goes, and what a line looks like.

    Attributes
    ----------
    level : {"DEBUG", "INFO", "WARNING", "ERROR"}
        The least that is logged. Only at DEBUG does the log hold values of images, and texts of exceptions.
    format : {"text", "json"}
        A line of text, or a JSON object with ``pipeline``, ``job`` and ``association``.
    file : pathlib.Path, optional
        The log file. Without one the log is on stderr; where that is the journal, in the journal.
    """

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"
    file: FilePath | None = None


class DeliveryTable(_Table):
    """``[delivery]``: when what was not delivered is tried again.

    Attributes
    ----------
    first_retry, longest_retry : float
        Seconds after the first failure; the wait doubles from failure to failure, to the longest.
    commitment_wait : float
        Seconds within which a peer that was asked to commit to an instance must have done so; then the
        instance is sent, and commitment asked for, again.
    """

    first_retry: Seconds = 30.0
    longest_retry: Seconds = 600.0
    commitment_wait: Seconds = 3600.0


class RetentionTable(_Table):
    """``[retention]``: how long things are kept when they are no longer needed.

    Attributes
    ----------
    inputs, results : float
        Seconds that the inputs and the results of a job that is over (delivered, discarded) stay on disk; 0
        removes them at once. ``replay`` of such a job needs its inputs.
    quarantine : float
        Seconds that what is quarantined stays on disk; 0 keeps it until the operator removes it.
    records : float
        Seconds that the ledger remembers what is over.
    """

    inputs: SecondsOrNone = 0.0
    results: SecondsOrNone = 0.0
    quarantine: SecondsOrNone = 0.0
    records: Seconds = 90 * 86400.0


class PeerTLSTable(_Table):
    """``[peers.NAME.tls]``: how this node connects to a peer.

    Attributes
    ----------
    authorities : pathlib.Path, optional
        The certificates (PEM) that sign the peer's; the system's where it is left out.
    certificate, key : pathlib.Path, optional
        What this node shows, if the peer asks for it.
    key_password : Secret, optional
        Of the private key.
    """

    authorities: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None
    key_password: Secret | None = None


class PeerTable(_Table):
    """``[peers.NAME]``: a remote AE.

    Attributes
    ----------
    ae_title : str
        Its AE title.
    address : Address, optional
        Where it listens; without it nothing can be sent to it.
    network : str, optional
        From where it may associate, when it is named in ``host.allow``; by default the host of ``address`` if
        that is an IP address.
    certificate : str, optional
        The SHA-256 fingerprint or common name of the certificate that it must show (mutual TLS).
    timeout : float
        Seconds without a sign of life after which it counts as silent.
    tls : PeerTLSTable, optional
        Send to it over TLS.
    storage_commitment : {"off", "ask"}
        Whether it is asked to commit to what it stored (PS3.4 annex J).
    retrieve : {"move", "get"}
        How earlier images are fetched from it: by C-MOVE, for which it must know the pipeline's AE title, or
        by C-GET.
    """

    ae_title: AETitle
    address: AddressText | None = None
    network: Network | None = None
    certificate: str | None = None
    timeout: Seconds = 60.0
    tls: PeerTLSTable | None = None
    storage_commitment: Literal["off", "ask"] = "off"
    retrieve: Literal["move", "get"] = "move"


class PipelineTable(DeclaredPipeline):
    """``[pipelines.NAME]``: a pipeline. Keys that are left out take the values of the pipeline's class.

    Inputs, blueprint, processing step and outputs may be declared here, too: see
    :class:`~dicomnode.plugins.declared_tables.DeclaredPipeline`.

    Attributes
    ----------
    plugin : str, optional
        The name of the entry point, when it is not the table's.
    ae_title : str, optional
        The called AE title that chooses it; the table's name in capitals where neither table nor class has
        one.
    destinations : tuple of str, optional
        Peers by name, and folders as ``file:/a/folder``. By default ``results`` in the data directory.
    settings : mapping
        Validated by the pipeline's own settings class.
    timeout : float, optional
        Seconds after which a job is ended.
    memory : int, optional
        Bytes of memory after which a job is ended.
    disk : int, optional
        Bytes that a job may write before it is ended.
    attempts : int
        How many runs a job gets before it is a dead letter.
    retry_after : float
        Seconds before the second run, doubled before each further one.
    concurrency : int, optional
        How many of its jobs run at once.
    in_order : bool, optional
        Whether a job waits until those that came before it are over.
    priority : int, optional
        Who goes first where resources are short: the higher.
    resources : mapping of str to int, optional
        What a job takes of ``host.resources`` while it runs, such as ``{ gpu = 1 }``.
    gather_by : {"series", "study", "patient"} or tuple of str, optional
        What one job is: the images of a series, a study, a patient, or those that have the same values of
        attributes, by keyword. By default it follows from the pipeline's inputs.
    settle : float, optional
        Seconds that are waited after the end of the last association that brought an image of a container,
        for senders that open several.
    open_association_wait : float, optional
        Seconds for which an open association holds a container back after the last image that it brought.
    expires : float, optional
        Seconds without an image after which a container that waits is dropped; those while the host was down
        count.
    late_images : {"hold", "new", "join"}, optional
        What becomes of new images that come after a job of their container has started: they are held for the
        operator, make a job of their own, or join that job's images, for a new job that takes its place.
    sorts_before_answer : bool, optional
        Whether a C-STORE is answered after the image has found its input, so that a refusal reaches the
        sender, or as soon as the image is durable.
    history : str, optional
        The peer that is asked for earlier images, where an input wants them; by default the only peer that
        has an address.
    on_unwanted : {"refuse", "discard"}
        Whether an image that no input wants is refused, or answered with Success and dropped.
    on_conflict : {"refuse", "replace"}
        What becomes of an instance that is here already with other content.
    iod_check : {"off", "warn", "block"}, optional
        Whether a result is checked against the tables of its IOD, and what for.
    environment : pathlib.Path or tuple of str, optional
        Where the pipeline lives, instead of in the host's own environment: a virtual environment, a file of
        requirements, or requirements.
    """

    plugin: str | None = None
    ae_title: AETitle | None = None
    destinations: tuple[str, ...] | None = None
    history: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    timeout: Seconds | None = None
    memory: Bytes | None = None
    disk: Bytes | None = None
    attempts: int = Field(default=3, ge=1)
    retry_after: Seconds = 10.0
    concurrency: int | None = Field(default=None, ge=1)
    in_order: bool | None = None
    priority: int | None = None
    resources: dict[str, Annotated[int, Field(ge=0)]] | None = None
    gather_by: str | tuple[str, ...] | None = None
    settle: SecondsOrNone | None = None
    open_association_wait: Seconds | None = None
    expires: Seconds | None = None
    late_images: Literal["hold", "new", "join"] | None = None
    sorts_before_answer: bool | None = None
    on_unwanted: Literal["refuse", "discard"] = "refuse"
    on_conflict: Literal["refuse", "replace"] = "refuse"
    iod_check: Literal["off", "warn", "block"] | None = None
    environment: FilePath | tuple[str, ...] | None = None


class PluginsTable(_Table):
    """``[plugins]``: which distributions are used.

    Attributes
    ----------
    disabled : tuple of str
        Left out.
    only : tuple of str, optional
        These alone are used; without it all that are installed.
    """

    disabled: Names = ()
    only: Names | None = None


class Config(_Table):
    """The whole configuration.

    Attributes
    ----------
    pipelines : mapping of str to PipelineTable
        Which pipelines run. ``None`` (no such table) runs every installed one with its class's defaults.
    """

    host: HostTable = HostTable()
    receiver: ReceiverTable = ReceiverTable()
    tls: TLSTable | None = None
    log: LogTable = LogTable()
    delivery: DeliveryTable = DeliveryTable()
    retention: RetentionTable = RetentionTable()
    plugins: PluginsTable = PluginsTable()
    peers: dict[str, PeerTable] = {}
    pipelines: dict[str, PipelineTable] | None = None
    _sources: ConfigSources = PrivateAttr(default=ConfigSources())

    def from_sources(self, sources: ConfigSources) -> Config:
        """Remember where the keys come from, and return itself."""
        self._sources = sources
        return self

    @property
    def sources(self) -> ConfigSources:
        """Where the keys come from."""
        return self._sources

    def label(self, path: KeyPath) -> str:
        """Return how to call a key in a message: ``dicomnode.toml:3: host.bind``, or the key alone."""
        source = self._sources.location(path)
        return f"{source}: {'.'.join(path)}" if source else ".".join(path)

    def changed_besides_peers(self, other: Config) -> list[str]:
        """Return the tables in which another configuration differs, but for who the peers are."""
        ours, theirs = (
            each.model_copy(update={"peers": {}, "host": each.host.model_copy(update={"allow": ()})})
            for each in (self, other)
        )
        return [name for name in type(self).model_fields if getattr(ours, name) != getattr(theirs, name)]

    @model_validator(mode="after")
    def _check_references(self) -> Config:
        held: Any = {
            "host": {"allow"},
            "peers": {"__all__": {"address"}},
            "pipelines": {"__all__": {"destinations", "history"}},
        }
        for path, what in wrong_references(self.model_dump(include=held)):
            raise PydanticCustomError(
                WRONG_REFERENCE, "{path}: {what}", {"path": ".".join(path), "what": what}
            )
        return self
