"""Every key of the configuration with its effective value, and where that comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import SecretStr

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import Config
from dicomnode.host.configuration.config_loading import load_config
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.configuration.effective_values import Value, effective_values


@dataclass(frozen=True)
class Settings:
    """Settings with a secret."""

    sigma: float = 1.5
    token: SecretStr = field(default_factory=lambda: SecretStr("swordfish"))


class Counted(AbstractInput):
    """Images whose number the peer says, of a series that is chosen."""

    expected_images = "peer"

    def choose_series(self, candidates: Any) -> Any:
        """Choose the first."""
        return candidates[0]


class ByFunction(AbstractInput):
    """Images whose number a function says."""

    expected_images = len


class Smooth(AbstractPipeline):
    """A pipeline with settings."""

    inputs = {"images": Counted, "any": AbstractInput, "some": ByFunction}
    Settings = Settings
    timeout = 77.0

    def process(self, inputs: object) -> NoOutput:
        """Do nothing."""
        return NoOutput()


def values(config: Config, *, broken: bool = False) -> dict[str, Value]:
    """Return the effective values by key, of the pipelines that the configuration names."""

    def configured(name: str) -> ConfiguredPipeline:
        if broken:
            raise ConfigurationError("it is not\ninstalled")
        table = (config.pipelines or {})[name]
        registration: Any = SimpleNamespace(name=name, distribution="smoothing", version="1.0")
        pipeline = Smooth(Smooth.validated_settings(table.settings))
        return ConfiguredPipeline(name, pipeline, "SMOOTH", ("file:/r",), table, registration)

    found = effective_values(config, list(config.pipelines or ()), configured)
    return {".".join(value.path): value for value in found}


def loaded(tmp_path: Path, text: str, **environment: str) -> Config:
    """Return the configuration of a file."""
    (tmp_path / "c.toml").write_text(text)
    return load_config(tmp_path / "c.toml", environment)


def test_defaults_lines_and_variables(tmp_path: Path) -> None:
    """A value has its line, or its variable, or is a default."""
    found = values(loaded(tmp_path, "[host]\nae_title = 'NODE'\n", DICOMNODE_HOST__DRAIN="30 s"))
    title, drain, bind = (found[f"host.{name}"] for name in ("ae_title", "drain", "bind"))
    assert (title.value, title.origin) == ("NODE", f"{tmp_path / 'c.toml'}:2")
    assert (drain.value, drain.origin) == (30.0, "DICOMNODE_HOST__DRAIN")
    assert (bind.value, bind.origin) == ("127.0.0.1:11112", "default")
    assert bind.to_json() == {"key": "host.bind", "value": "127.0.0.1:11112", "origin": "default"}
    assert found["tls"].value is None


def test_a_pipelines_own_values_and_settings(tmp_path: Path) -> None:
    """What the table leaves out is the class's, with its name; secrets are hidden."""
    found = values(
        loaded(tmp_path, "[pipelines.smooth]\nsettle = 9\n[pipelines.smooth.settings]\nsigma = 2\n")
    )
    own = "Smooth of smoothing 1.0"
    settle, timeout = found["pipelines.smooth.settle"], found["pipelines.smooth.timeout"]
    assert (settle.value, settle.origin) == (9.0, f"{tmp_path / 'c.toml'}:2")
    assert (timeout.value, timeout.origin) == (77.0, own)
    title, destinations = found["pipelines.smooth.ae_title"], found["pipelines.smooth.destinations"]
    assert (title.value, title.origin) == ("SMOOTH", "default")
    assert (destinations.value, destinations.origin) == (["file:/r"], "default")
    sigma, token = found["pipelines.smooth.settings.sigma"], found["pipelines.smooth.settings.token"]
    assert (sigma.value, sigma.origin) == (2.0, f"{tmp_path / 'c.toml'}:4")
    assert (token.value, token.origin) == ("**********", own)


def test_when_inputs_are_whole(tmp_path: Path) -> None:
    """What the class of each says, unless the table does; a function is named as such."""
    own, path = "Smooth of smoothing 1.0", "pipelines.smooth.inputs"
    text = "[pipelines.smooth.inputs.any]\nexpected_images = 5\nrequired_tags = ['Rows']\n"
    found = {
        name.removeprefix(f"{path}."): (value.value, value.origin, value.of_class)
        for name, value in values(loaded(tmp_path, text)).items()
        if name.startswith(path)
    }
    assert found == {
        "images.expected_images": ("peer", own, True),
        "images.choose_series": (None, f"choose_series of {own}", True),
        "any.choose_series": (None, "default", True),
        "some.expected_images": (None, f"a function of {own}", True),
        "some.choose_series": (None, "default", True),
        "any.required_tags": (["Rows"], f"{tmp_path / 'c.toml'}:3", False),
        "any.expected_images": (5, f"{tmp_path / 'c.toml'}:2", False),
    }


def test_tables_come_after_the_keys_of_their_own_table(tmp_path: Path) -> None:
    """A TOML file has the keys of a table before the tables within it: so may this be printed as one."""
    peer = "[peers.PACS]\naddress = 'a:1'\nae_title = 'A'\ntls = { certificate = '/c', key = '/k' }\n"
    paths = [name.split(".") for name in values(loaded(tmp_path, peer)) if name.startswith("peers.PACS.")]
    lengths = [len(path) for path in paths]
    assert lengths == sorted(lengths)
    assert lengths[-1] == 4


def test_settings_of_a_pipeline_that_cannot_be_loaded_are_hidden(tmp_path: Path) -> None:
    """Which of them are secret is known to its class alone."""
    found = values(
        loaded(tmp_path, "[pipelines.smooth]\nsettle = 9\nsettings = { token = 'swordfish' }\n"), broken=True
    )
    settings = found["pipelines.smooth.settings"]
    assert settings.origin == "it is not; installed"
    assert "hidden" in settings.value
    assert found["pipelines.smooth.settle"].value == 9.0
    assert "swordfish" not in str(found)
