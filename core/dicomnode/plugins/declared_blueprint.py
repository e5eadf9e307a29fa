"""Declarative blueprints: elements by name, those of plugins like the library's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.elements.standard_elements import StaticElement
from dicomnode.dicom.elements.virtual_element import VirtualElement
from dicomnode.dicom.values.tags import PrivateTag, TagLike
from dicomnode.errors import ConfigurationError, DicomnodeError
from dicomnode.plugins.declared_tables import BlueprintTable
from dicomnode.plugins.object_import import import_object
from dicomnode.plugins.registry import Registry

_PRIVATE = re.compile(r"\(?([0-9A-Fa-f]{4}),\s*xx([0-9A-Fa-f]{2})\)?")
_IMPORT = {"import"}


def declared_blueprint(table: BlueprintTable, registry: Registry, where: str = "blueprint") -> Blueprint:
    """Return the blueprint that a table declares.

    Parameters
    ----------
    table : BlueprintTable
        The table.
    registry : Registry
        Where elements are looked up by name.
    where : str
        What messages call the table.

    Raises
    ------
    ConfigurationError
        Naming the key that is wrong.
    """
    reader = _Reader(registry)
    try:
        elements = reader.blueprint(table.elements, f"{where}.elements")
        blueprint = _ready_made(table.base, where) + elements if table.base else elements
        return blueprint.with_sop_class(table.SOPClassUID) if table.SOPClassUID else blueprint
    except ConfigurationError:
        raise
    except DicomnodeError as error:
        msg = f"{where}: {error}"
        raise ConfigurationError(msg) from error


def _ready_made(name: str, where: str) -> Blueprint:
    from dicomnode.dicom import blueprints

    suffix = "_blueprint"
    ready = {each.removesuffix(suffix): getattr(blueprints, each) for each in blueprints.__all__}
    found = ready.get(name.replace("-", "_").removesuffix(suffix))
    if isinstance(found, Blueprint):
        return found
    known = ", ".join(sorted(each for each, ready_made in ready.items() if isinstance(ready_made, Blueprint)))
    msg = f"{where}: there is no ready-made blueprint {name!r}; there are: {known}"
    raise ConfigurationError(msg)


class _Reader:
    """Turns tables into elements."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def blueprint(self, elements: Mapping[str, Any], where: str) -> Blueprint:
        """Return the blueprint of a table of elements."""
        return Blueprint(self._element(key, value, f"{where}.{key}") for key, value in elements.items())

    def _element(self, key: str, declared: Any, where: str) -> VirtualElement:
        try:
            if not isinstance(declared, Mapping):
                return StaticElement(key, declared)
            return self._named(key, dict(declared), where)
        except ConfigurationError:
            raise
        except (DicomnodeError, TypeError) as error:
            msg = f"{where}: {error}"
            raise ConfigurationError(msg) from error

    def _named(self, key: str, arguments: dict[str, Any], where: str) -> VirtualElement:
        name = arguments.pop("element", None)
        if not isinstance(name, str):
            offered = ", ".join(self._registry.names("elements"))
            msg = f'{where}: say which element it is, {{ element = "NAME" }}; there are: {offered}'
            raise ConfigurationError(msg)
        kind: type[VirtualElement] = self._registry.load("elements", name)
        tag = _tag(key, arguments.pop("private_creator", None), where)
        given = {
            argument: self._argument(value, f"{where}.{argument}") for argument, value in arguments.items()
        }
        return kind.declared(tag, given, lambda elements: self.blueprint(elements, where))

    def _argument(self, value: Any, where: str) -> Any:
        """Return an argument; ``{ import = "module:name" }`` is the object of that name."""
        if isinstance(value, Mapping) and set(value) == _IMPORT:
            return import_object(str(value["import"]), where)
        return value


def _tag(key: str, creator: str | None, where: str) -> TagLike:
    private = _PRIVATE.fullmatch(key)
    if private is None:
        return key
    if not creator:
        msg = f'{where}: a private attribute needs private_creator = "CREATOR" (PS3.5 section 7.8.1)'
        raise ConfigurationError(msg)
    return PrivateTag(int(private[1], 16), int(private[2], 16), creator)
