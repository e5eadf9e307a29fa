"""At INFO the log holds no value of an image, however an image or a job comes to grief."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from dicomnode.testing import send
from plugin_factory import PRELUDE, PluginFactory
from running_host import RunningHost
from sources import ct_slices

TELLING = (
    PRELUDE
    + """
import warnings
from dicomnode.errors import JobFailedError
from dicomnode.pipeline.pipelines import AbstractThreadedPipeline

class Nobody(AbstractInput):
    required_values = {"PatientName": "Nobody"}

class Raising(AbstractInput):
    def validate_image(self, image):
        warnings.warn(f"strange: {image.PatientName}")
        raise ValueError(f"cannot use {image.PatientName}")

class Saying(AbstractInput):
    def validate_image(self, image):
        warnings.warn(f"strange: {image.PatientName}")
        return f"not for {image.PatientName}"

class Fails(AbstractPipeline):
    inputs = {"images": Images}

    def process(self, inputs):
        name = str(list(inputs["images"])[0].PatientName)
        raise JobFailedError(f"no mask for {name}", name)

class Refuses(Fails):
    inputs = {"images": Nobody}

class Says(Fails):
    inputs = {"images": Saying}

class Raises(Fails):
    inputs = {"images": Raising}

class Later(AbstractThreadedPipeline):
    inputs = {"images": Nobody}
    process = Fails.process
"""
)
NAMES = {name: name.title() for name in ("refuses", "says", "raises", "later", "fails")}
CONFIG = "".join(f"[pipelines.{name}]\nattempts = 1\n" for name in NAMES)


@pytest.mark.parametrize("receivers", [1, 2])
@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_no_value_of_an_image_is_in_the_log_at_info(tmp_path: Path, receivers: int, level: str) -> None:
    """Refused at once or later, by a rule's words or its exception, or in a job that fails: only at DEBUG."""
    plugins = PluginFactory(tmp_path / "plugins")
    plugins.add("telling", TELLING, pipelines=NAMES)
    file = tmp_path / "node.log"
    config = f'{CONFIG}[receiver]\nreceivers = {receivers}\n[log]\nlevel = "{level}"\nfile = "{file}"\n'
    image = ct_slices()[0]
    image.PatientName = "Doe^Secretname"
    with RunningHost(tmp_path / "host", config, environment={"PYTHONPATH": str(plugins.folder)}) as host:
        answers = {name: send([image], ("127.0.0.1", host.port), name.upper())[0] for name in NAMES}
        host.wait_for_jobs(1, "failed")
        host.ask("discard", job=1, reason="the wrong one: Doe^Secretname")
    assert answers == {"refuses": 0x0124, "says": 0x0124, "raises": 0x0110, "later": 0, "fails": 0}
    text = file.read_text() + host.text()
    assert ("Secretname" in text) is (level == "DEBUG")
    for told in (
        "refused an instance: 0x0124 no input wants an image",
        "refused an instance: 0x0110 the validation of input 'images' raised ValueError",
        "no input wants an image; it is quarantined",
        "failed (raised) after 1 attempt: a dead letter",
        "discarded by the operator; 1 input released",
    ):
        assert told in text
    quarantined = [
        line for line in text.splitlines() if "it is quarantined" in line and "pipeline=later" in line
    ]
    assert quarantined
    assert all(" association=" in line for line in quarantined)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
