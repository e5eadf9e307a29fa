"""The configuration: what is read from file and environment, and what is said of what is wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config_loading import load_config


@pytest.fixture
def load(tmp_path):
    """Return what writes a configuration file and reads it, with environment variables of its own."""

    def load(text, **environment):
        file = tmp_path / "dicomnode.toml"
        file.write_text(text, encoding="utf-8")
        return load_config(file, environment)

    return load


def refusal(load, text, **environment):
    """Return what is said of a configuration that is wrong, without the folder."""
    with pytest.raises(ConfigurationError) as caught:
        load(text, **environment)
    return re.sub(r"\S*/(?=dicomnode\.toml)", "", str(caught.value))


PEER = '[peers.PACS]\nae_title = "ORTHANC"\naddress = "10.0.0.4:4242"\n'


def test_nothing_configured_is_a_host_on_loopback():
    """Without file and environment every default holds, and every installed pipeline runs."""
    config = load_config(None, {})
    assert (str(config.host.bind), config.host.ae_title) == ("127.0.0.1:11112", "DICOMNODE")
    assert config.pipelines is None
    assert config.host.durability == "power"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '[host]\nae_title = "TOO LONG FOR A TITLE"',
            "dicomnode.toml:2: host.ae_title: an AE title has 1 to 16",
        ),
        ('[host]\nae_title = "A\\\\B"', "host.ae_title: an AE title has 1 to 16 characters"),
        ("\n\n[host]\n# a comment\nbind = 11112", "dicomnode.toml:5: host.bind: "),
        ('host.bind = "::1:99999"', "dicomnode.toml:1: host.bind: an address is HOST:PORT"),
        ('host = { bind = "x" }', "dicomnode.toml:1: host.bind: an address is HOST:PORT"),
        (
            '[host]\ndurability = "sometimes"',
            "host.durability: Input should be 'power' or 'process' (it is 'sometimes')",
        ),
        ('[host]\nreserve = "a lot"', "host.reserve: a size is a number of bytes"),
        ("[host]\nreserve = -1", "host.reserve: Input should be greater than or equal to 0 (it is -1)"),
        ('[host]\ndrain = "soon"', "host.drain: a duration is a number of seconds"),
        ('[host]\ninsecure = "perhaps"', "host.insecure: Input should be a valid boolean"),
        (
            '[host]\nallow = [\n  "a",\n  5,\n]',
            "dicomnode.toml:2: host.allow: Input should be a valid string (it is 5)",
        ),
        (
            "[receiver]\nmax_associations = 0",
            "receiver.max_associations: Input should be greater than or equal to 1",
        ),
        ('[tls]\ncertificate = "x"', "dicomnode.toml:1: tls.key: must be set"),
        ('[peers.PACS]\naddress = "a:1"', "dicomnode.toml:1: peers.PACS.ae_title: must be set"),
        (
            '[peers.PACS]\nae_title = "A"\nnetwork = "10.0"',
            "dicomnode.toml:3: peers.PACS.network: a network is an IP",
        ),
        ("[retention]\ninputs = -1", "retention.inputs: Input should be greater than or equal to 0"),
        (
            '[pipelines.smooth]\ndestinations = ["PACS"]',
            "dicomnode.toml:2: pipelines.smooth.destinations: 'PACS' is neither a peer",
        ),
        (
            '[peers.PACS]\nae_title = "A"\n[pipelines.smooth]\ndestinations = ["PACS"]',
            "toml:4: pipelines.smooth.destinations: the peer 'PACS' has no address: set peers.PACS.",
        ),
        ('host.allow = "CT"', "dicomnode.toml:1: host.allow: Input should be a list (it is 'CT')"),
        ("host = 3", "dicomnode.toml:1: host: Input should be a table (it is 3)"),
        (
            '[log]\nlevel = "LOUD"',
            "log.level: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR' (it is 'LOUD')",
        ),
    ],
)
def test_a_wrong_value_is_told_with_file_line_and_key(load, text, told):
    """Whatever way of writing TOML was chosen, and what it may be instead."""
    assert told in refusal(load, text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[host]\nbnd = 1", "dicomnode.toml:2: host.bnd: unknown key; did you mean bind?"),
        ("[hosts]\nbind = 1", "dicomnode.toml:1: hosts: unknown key; did you mean host?"),
        (PEER + "adress = 1", "dicomnode.toml:4: peers.PACS.adress: unknown key; did you mean address?"),
        (
            PEER + "[peers.PACS.tls]\ncertficate = 1",
            "peers.PACS.tls.certficate: unknown key; did you mean certificate?",
        ),
        ("[pipelines.smooth]\nsetting = {}", "pipelines.smooth.setting: unknown key; did you mean settings?"),
        ("[pipelines.smooth]\nretries = 1", "pipelines.smooth.retries: unknown key; there are: process,"),
        ("[log]\nxyz = 1", "log.xyz: unknown key; there are: level, format, file"),
    ],
)
def test_an_unknown_key_is_told_with_what_was_meant(load, text, told):
    """In every kind of table; where nothing is near, with the keys that there are."""
    assert told in refusal(load, text)


def test_everything_that_is_wrong_is_told_at_once(load):
    """A line for each."""
    lines = refusal(load, '[host]\nbind = "x"\ndrain = "y"\nbnd = 1').splitlines()
    assert [line.split(": ")[1] for line in lines] == ["host.bind", "host.drain", "host.bnd"]
    assert [line.split(": ")[0] for line in lines] == [f"dicomnode.toml:{number}" for number in (2, 3, 4)]


def test_names_that_lead_nowhere_are_told_with_all_other_mistakes(load):
    """Destinations, `history` and `host.allow` are looked at whatever else is wrong with the file."""
    text = (
        '[host]\ndrain = "soon"\nallow = ["PACKS", "10.0.0.0/8"]\n[pipelines.smooth]\n'
        'destinations = ["PASC", "file:/a", "ARCHIVE"]\nhistory = "PAST"\nblueprint = "none.toml"\n'
    )
    lines = refusal(load, text, DICOMNODE_HOST__DRAIN__X="1").splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["DICOMNODE_HOST__DRAIN__X", "host.drain is a value, and no table that could hold x"],
        ["dicomnode.toml:2", "host.drain"],
        ["dicomnode.toml:7", "pipelines.smooth.blueprint"],
        ["dicomnode.toml:3", "host.allow"],
        ["dicomnode.toml:5", "pipelines.smooth.destinations"],
        ["dicomnode.toml:5", "pipelines.smooth.destinations"],
        ["dicomnode.toml:6", "pipelines.smooth.history"],
    ]


def test_what_is_not_toml_is_told_with_its_place(load):
    """By TOML's reader: line and column."""
    assert "dicomnode.toml: not TOML: " in refusal(load, "[host]\nbind = ")
    assert "at line 2, column 8" in refusal(load, "[host]\nbind = nothing")


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    """Absent, a directory, not UTF-8, no permission: which file, and why."""
    with pytest.raises(ConfigurationError, match=r"none\.toml: there is no such configuration file"):
        load_config(tmp_path / "none.toml", {})
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load_config(tmp_path, {})
    file = tmp_path / "latin.toml"
    file.write_bytes(b'[host]\nae_title = "\xe9"')
    with pytest.raises(ConfigurationError, match=r"latin\.toml: not UTF-8 \(byte 19\)"):
        load_config(file, {})
    file.chmod(0)
    if not os.access(file, os.R_OK):  # root may read it all the same
        with pytest.raises(ConfigurationError, match="cannot be read: Permission denied"):
            load_config(file, {})


# -- the environment ---------------------------------------------------------------------------------------


def test_the_environment_overrides_the_file(load):
    """Keys of any depth; names of the file's own in whatever case; values as in TOML, or text."""
    config = load(
        PEER + "[pipelines.pet-ct]\nsettings = { sigma = 1 }\n[host]\nbind = '127.0.0.1:1'",
        DICOMNODE_HOST__BIND="127.0.0.1:2",
        DICOMNODE_HOST__RESERVE="2 GB",
        DICOMNODE_HOST__ALLOW='["10.0.0.0/8"]',
        DICOMNODE_PEERS__PACS__TIMEOUT="5",
        DICOMNODE_PIPELINES__PET_CT__SETTINGS__SIGMA="2.5",
        DICOMNODE_PIPELINES__PET_CT__SETTINGS__LABEL="soft tissue",
        DICOMNODE_CONFIG="ignored.toml",
        HOST__BIND="ignored",
    )
    assert str(config.host.bind) == "127.0.0.1:2"
    assert config.host.reserve == 2 * 2**30
    assert config.host.allow == ("10.0.0.0/8",)
    assert config.peers["PACS"].timeout == 5
    assert config.pipelines["pet-ct"].settings == {"sigma": 2.5, "label": "soft tissue"}


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("DICOMNODE_HOST__BIND", "nowhere", "DICOMNODE_HOST__BIND: host.bind: an address is HOST:PORT"),
        ("DICOMNODE_HOST__BND", "1", "DICOMNODE_HOST__BND: host.bnd: unknown key; did you mean bind?"),
        ("DICOMNODE_HOST__AE_TITLE", "12", "write it as '\"12\"', in quotes within quotes, to have"),
        ("DICOMNODE_HOST__BIND__PORT", "1", "DICOMNODE_HOST__BIND__PORT: host.bind is a value, and no table"),
        ("DICOMNODE_HOSTS__BIND", "1", "DICOMNODE_HOSTS__BIND: hosts: unknown key; did you mean host?"),
        ("DICOMNODE_PEERS__CT__ADDRESS", "a:1", "DICOMNODE_PEERS__CT__ADDRESS: peers.ct.ae_title: must be"),
        ("DICOMNODE_PEERS__PACS__AE_TITLE", "", "DICOMNODE_PEERS__PACS__AE_TITLE: peers.PACS.ae_title: must"),
        ("DICOMNODE_PEERS__PACS__TIMEOUT", "-1", "DICOMNODE_PEERS__PACS__TIMEOUT: peers.PACS.timeout: "),
    ],
)
def test_what_the_environment_sets_wrongly_is_told_by_the_variable(load, variable, value, told):
    """Not by a line of the file, which does not say it."""
    assert told in refusal(load, PEER + "[host]\nbind = '127.0.0.1:1'", **{variable: value})


def test_an_empty_variable_unsets_a_key(load):
    """What the file says does not hold then, and no table comes into being."""
    text = '[log]\nfile = "/x"\n[pipelines.smooth]\nsettings = { sigma = 1 }\n'
    config = load(
        text,
        DICOMNODE_LOG__FILE="",
        DICOMNODE_TLS__AUTHORITIES="",
        DICOMNODE_PIPELINES__SMOOTH__SETTINGS__SIGMA="",
        DICOMNODE_PIPELINES__SMOOTH__SETTINGS__LABEL='""',
    )
    assert (config.log.file, config.tls) == (None, None)
    assert config.pipelines["smooth"].settings == {"label": ""}
    assert config.sources.origin(("log", "file")) == "DICOMNODE_LOG__FILE"


def test_a_title_of_digits_can_be_set_in_the_environment(load):
    """As the message says: in quotes within quotes."""
    assert load("", DICOMNODE_HOST__AE_TITLE='"12"').host.ae_title == "12"


# -- secrets, paths ----------------------------------------------------------------------------------------


def secret(load, value):
    """Return the one secret of the configuration, written in some way."""
    peer = load(f'{PEER}tls = {{ certificate = "c", key = "k", key_password = {value} }}').peers["PACS"]
    return peer.tls.key_password


def test_a_secret_comes_from_where_it_is_kept(load, tmp_path, monkeypatch):
    """In the environment, in a file, or in the configuration itself; it is never shown."""
    monkeypatch.setenv("PACS_PASSWORD", "swordfish")
    (tmp_path / "password").write_text("sesame\n")
    values = {
        '{ env = "PACS_PASSWORD" }': "swordfish",
        f'{{ file = "{tmp_path}/password" }}': "sesame",
        '"plain"': "plain",
    }
    for written, value in values.items():
        kept = secret(load, written)
        assert kept.get_secret_value() == value
        assert value not in f"{kept!r} {kept}"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ('{ env = "NO_SUCH_VARIABLE" }', "the environment has no variable NO_SUCH_VARIABLE"),
        ('{ file = "/no/such/file" }', "/no/such/file cannot be read: No such file or directory"),
        ('{ vault = "x" }', "a secret is text, { env = "),
        ("12345", "peers.PACS.tls.key_password: "),
    ],
)
def test_a_secret_that_cannot_be_had_is_told_without_showing_it(load, value, told):
    """By its key and where it was looked for."""
    with pytest.raises(ConfigurationError) as caught:
        secret(load, value)
    assert told in str(caught.value)
    assert "12345" not in str(caught.value)


def test_relative_paths_are_relative_to_the_file(load, tmp_path, monkeypatch):
    """So that every command finds the same data directory, from wherever it is called."""
    monkeypatch.chdir("/")
    config = load(
        '[host]\ndata = "data"\n[log]\nfile = "logs/x"\n[tls]\ncertificate = "~/c.pem"\nkey = "/k.pem"'
    )
    assert config.host.data == tmp_path / "data"
    assert config.log.file == tmp_path / "logs" / "x"
    assert config.tls.certificate == Path.home() / "c.pem"
    assert config.tls.key == Path("/k.pem")
