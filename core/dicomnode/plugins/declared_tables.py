"""The tables of a pipeline that is declared in the configuration, without Python.

What is read here is plain data, so that it can travel with a job to wherever the job is done.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from dicomnode.errors import ConfigurationError


def _dicom_text(value: Any) -> Any:
    """Write TOML's dates and times as DICOM does (PS3.5 section 6.2), within whatever holds them."""
    match value:
        case dt.datetime():
            return value.strftime("%Y%m%d%H%M%S.%f%z")
        case dt.date():
            return value.strftime("%Y%m%d")
        case dt.time():
            return value.strftime("%H%M%S.%f")
        case Mapping():
            return {str(key): _dicom_text(each) for key, each in value.items()}
        case list() | tuple():
            return [_dicom_text(each) for each in value]
    return value


Plain = Annotated[Any, AfterValidator(_dicom_text)]
"""Anything that TOML can hold; dates and times as DICOM writes them."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _by_name(key: str) -> BeforeValidator:
    """Let a name alone stand for a table that holds nothing else."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class GrinderTable(_Table):
    """What an input's images become; or its name alone.

    Attributes
    ----------
    grinder : str
        ``volume``, ``list``, ``tree``, ``tags``, or ``module:object``.
    tags : tuple of str
        The attributes, for ``tags``.
    options : mapping
        The grinder's keyword arguments.
    """

    grinder: str
    tags: tuple[str, ...] = ()
    options: dict[str, Plain] = {}


class InputTable(_Table):
    """``[pipelines.NAME.inputs.INPUT]``; or the name of a registered input alone.

    What is left out is as the input has it that is changed.

    Attributes
    ----------
    input : str, optional
        The name of a registered input to start from. Left out, it is the installed pipeline's own input of
        this name; else ``images``, which takes any image.
    required_tags : tuple of str, optional
        Attributes that an image must have.
    required_values : mapping, optional
        Attribute -> a value, a list of values (one of them), ``{ matches = "regular expression" }``, or
        ``{ not = [values] }``.
    grinder : GrinderTable, optional
        What the images become.
    optional, several_series, several_studies, complete_volume : bool, optional
        See :class:`~dicomnode.AbstractInput`.
    expected_images : int or str, optional
        How many images prove that a series is whole: a number, the keyword of the attribute that says it, or
        ``peer``.
    choose_series : str, optional
        Which series a job gets where several have come: ``largest``, the one with the most images, or a
        function as ``module:function``, which is given the candidates.
    """

    input: str | None = None
    required_tags: tuple[str, ...] | None = None
    required_values: dict[str, Plain] | None = None
    grinder: Annotated[GrinderTable, _by_name("grinder")] | None = None
    optional: bool | None = None
    several_series: bool | None = None
    several_studies: bool | None = None
    expected_images: int | str | None = None
    choose_series: str | None = None
    complete_volume: bool | None = None


class BlueprintTable(_Table):
    """A declarative blueprint: a table of the configuration, a file of its own; or a ready-made one's name.

    Attributes
    ----------
    base : str, optional
        A ready-made blueprint to start from: ``derived_image``, ``ct``, ``secondary_capture`` ...
    SOPClassUID : str, optional
        The SOP class of the results, by UID or by pydicom's name (``CTImageStorage``).
    elements : mapping
        Attribute -> a value, or a table ``{ element = "NAME", ... }`` with the name of a registered element
        and its arguments.
    """

    base: str | None = None
    SOPClassUID: str | None = None
    elements: dict[str, Plain] = {}


class OutputTable(_Table):
    """An output; or its name alone.

    Attributes
    ----------
    output : str
        The name of a registered output.
    arguments : mapping
        Keyword arguments of its class, besides what the step returned.
    """

    output: str
    arguments: dict[str, Plain] = {}


class DeclaredPipeline(_Table):
    """What ``[pipelines.NAME]`` may say in place of a Python class, or to change an installed one.

    Attributes
    ----------
    process : str, optional
        What processes: the name of a registered pipeline, or a function as ``module:function``. It is called
        with the inputs, and with ``settings`` as keyword arguments.
    inputs : mapping, optional
        Input name -> its table, or the name of a registered input. Inputs of an installed pipeline that are
        not named stay as they are.
    blueprint : BlueprintTable, optional
        What headers are made with. In the configuration file also the path of a blueprint file (``.toml``),
        relative to the configuration.
    outputs : tuple of OutputTable, optional
        What a function's result becomes; a DICOM output where nothing is said. A registered pipeline makes
        its outputs itself.
    header_input : str, optional
        The input whose images headers are made from.
    filling_strategy : {"discard", "copy"}, optional
        What becomes of source attributes that the blueprint does not name.
    """

    process: str | None = None
    inputs: dict[str, Annotated[InputTable, _by_name("input")]] | None = None
    blueprint: Annotated[BlueprintTable, _by_name("base")] | None = None
    outputs: tuple[Annotated[OutputTable, _by_name("output")], ...] | None = None
    header_input: str | None = None
    filling_strategy: Literal["discard", "copy"] | None = None

    def declaration(self) -> dict[str, Any] | None:
        """Return what is declared as plain data that ``json.dumps`` takes; ``None`` where nothing is."""
        plain = self.model_dump(mode="json", include=set(DeclaredPipeline.model_fields), exclude_unset=True)
        return {key: value for key, value in plain.items() if value is not None} or None


def read_blueprint_files(tables: Mapping[str, Any], folder: Path) -> list[tuple[tuple[str, ...], str]]:
    """Put blueprint files in the place of their paths, in the tables of a configuration.

    Parameters
    ----------
    tables : mapping
        The tables as they were read; those of pipelines are changed.
    folder : pathlib.Path
        What relative paths are relative to.

    Returns
    -------
    list of (tuple of str, str)
        The key of each file that cannot be read, or is not TOML, and what is wrong with it.
    """
    problems: list[tuple[tuple[str, ...], str]] = []
    pipelines = tables.get("pipelines")
    for name, table in pipelines.items() if isinstance(pipelines, Mapping) else ():
        blueprint = table.get("blueprint") if isinstance(table, dict) else None
        if isinstance(blueprint, str) and blueprint.endswith(".toml"):
            try:
                table["blueprint"] = _read(folder / blueprint)
            except ConfigurationError as error:
                problems.append((("pipelines", name, "blueprint"), str(error)))
    return problems


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{file} cannot be read: {error.strerror}"
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{file} is not TOML: {error}"
    raise ConfigurationError(msg)
