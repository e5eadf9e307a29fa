"""Plugin packages for tests: modules and metadata in a folder, found through ``PYTHONPATH``.

Usage::

    plugins = PluginFactory(tmp_path / "plugins")
    plugins.add("smooth", SOURCE)                      # distribution smooth 1.0, its one pipeline is `smooth`
    plugins.add("rules", HOOKS, hooks={"rules": ""})    # a module with @hookimpl functions
    with plugins.installed():                          # this process sees them, and those that it starts
        pool = WorkerPool()

``SOURCE`` is the text of the module ``<name>.py``; a pipeline's class is called ``Pipeline`` unless entry
points are given. Begin with :data:`PRELUDE`, which imports what plugins need::

    SOURCE = PRELUDE + '''
    class Pipeline(AbstractPipeline):
        inputs = {"images": Images}
        def process(self, inputs):
            return NoOutput()
    '''

:func:`write_inputs` writes images into files and returns them as a :class:`JobDescription` wants them;
:func:`job_of` makes the whole description.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from dicomnode.host.jobs.job import JobDescription, job_identity
from sources import mr_slices

PRELUDE = """
import os, sys, time, signal, subprocess, threading
from pathlib import Path
import numpy as np
from dicomnode.dicom.geometry.grinders import DicomTreeGrinder, ListGrinder, NumpyGrinder
from dicomnode.dicom.building.numpy_factory import NumpyFactory
from dicomnode.pipeline.inputs import AbstractInput
from dicomnode.pipeline.pipelines import AbstractPipeline
from dicomnode.pipeline.outputs import DicomOutput, FileOutput, NoOutput, PipelineOutput

class Images(AbstractInput):
    required_tags = ("SeriesInstanceUID",)

class VolumeInput(AbstractInput):
    image_grinder = NumpyGrinder()
"""

INVERT = (
    PRELUDE
    + """
class Pipeline(AbstractPipeline):
    inputs = {"images": VolumeInput}

    def process(self, inputs):
        volume = inputs["images"]
        inverted = volume.with_array(volume.array.max() - volume.array)
        return DicomOutput(NumpyFactory().build_series(inputs.header, inverted))
"""
)
"""The well-behaved one: an image series, inverted."""

SCRIPTED = (
    PRELUDE
    + """
from dataclasses import dataclass

def inverted(inputs):
    volume = inputs["images"]
    built = NumpyFactory().build_series(inputs.header, volume.with_array(volume.array.max() - volume.array))
    return list(built)

@dataclass(frozen=True)
class Settings:
    code: str = ""

class Pipeline(AbstractPipeline):
    inputs = {"images": VolumeInput}
    Settings = Settings

    def process(self, inputs):
        scope = {**globals(), "inputs": inputs, "pipeline": self, "result": NoOutput()}
        exec(self.settings.code, scope)
        return scope["result"]
"""
)
"""One that does what its setting ``code`` says, and returns ``result``; ``inverted(inputs)`` is a series."""

_numbers = itertools.count(1)


class PluginFactory:
    """Writes distributions into a folder.

    Parameters
    ----------
    folder : pathlib.Path
        Made where there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        source: str,
        *,
        version: str = "1.0",
        requires: Iterable[str] = (),
        pipelines: Mapping[str, str] | None = None,
        **others: Mapping[str, str],
    ) -> str:
        """Write the module ``<name>.py`` and the metadata of the distribution of that name.

        Parameters
        ----------
        name : str
            An identifier, the name of module and distribution.
        source : str
            The module's text; its common indentation is taken away.
        version : str
            The distribution's version.
        requires : iterable of str
            Its requirements.
        pipelines : mapping of str to str, optional
            Entry point -> class name. Without it and without others, ``{name: "Pipeline"}``.
        **others : mapping of str to str
            The same for ``inputs``, ``elements``, ``outputs`` and ``hooks``; an empty class name is the
            module itself.

        Returns
        -------
        str
            The name.
        """
        (self.folder / f"{name}.py").write_text(textwrap.dedent(source))
        self.remove_metadata(name)
        info = self.folder / f"{name}-{version}.dist-info"
        info.mkdir()
        needed = "".join(f"Requires-Dist: {each}\n" for each in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}")
        if pipelines is None and not others:
            pipelines = {name: "Pipeline"}
        groups = {"pipelines": pipelines or {}, **others}
        lines = []
        for kind, registered in groups.items():
            lines.append(f"[dicomnode.{kind}]")
            lines += [
                f"{entry} = {name}" + (f":{value}" if value else "") for entry, value in registered.items()
            ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        return name

    def remove_metadata(self, name: str) -> None:
        """Take the metadata of a distribution away."""
        for info in self.folder.glob(f"{name}-*.dist-info"):
            shutil.rmtree(info)

    def remove(self, name: str) -> None:
        """Uninstall a distribution: module and metadata."""
        self.remove_metadata(name)
        (self.folder / f"{name}.py").unlink()
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let this process and those that it starts find the plugins; forget their modules afterwards."""
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(self.folder), before)))
        sys.path.insert(0, str(self.folder))
        known = set(sys.modules)
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))
            for name in set(sys.modules) - known:
                path = getattr(sys.modules[name], "__file__", None) or ""
                if path.startswith(str(self.folder)):
                    del sys.modules[name]
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before


def write_inputs(folder: Path, images: Iterable[Dataset]) -> tuple[tuple[str, dict[int, Any]], ...]:
    """Write images into files (0600) and return path and index of each."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, image in enumerate(images):
        path = folder / f"{number:06d}.dcm"
        pydicom.dcmwrite(path, image)
        path.chmod(0o600)
        tags = (0x00080016, 0x00080018, 0x00100020, 0x0020000D, 0x0020000E)
        written.append((str(path), {tag: str(image[tag].value) for tag in tags}))
    return tuple(written)


def job_of(
    plugin: str,
    root: Path,
    *,
    images: Iterable[Dataset] | None = None,
    input_name: str = "images",
    **others: Any,
) -> JobDescription:
    """Return a job of a plugin, with its images written below a folder (four MR slices if none are given)."""
    number = next(_numbers)
    written = write_inputs(root / "spool" / str(number), mr_slices() if images is None else images)
    (root / "outbox").mkdir(exist_ok=True)
    uids = [index[0x00080018] for _, index in written]
    given: dict[str, Any] = {
        "id": str(number),
        "identity": job_identity(plugin, "patient", uids, ""),
        "pipeline": plugin,
        "plugin": plugin,
        "distribution": plugin,
        "version": "1.0",
        "container_key": "patient",
        "inputs": {input_name: written},
        "folder": str(root / "outbox" / str(number)),
        "workdir": str(root / "work" / str(number)),
        "created": time.time(),
        "timeout": 60.0,
    }
    return JobDescription(**{**given, **others})
