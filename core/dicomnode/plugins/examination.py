"""What the source of a plugin shows without running it: its hooks, and why an import would fail.

``--list-plugins`` must show the hooks of a plugin and what is wrong with it, but must not import it: that may
take seconds (torch), print, or end the process. So the modules that entry points name are parsed. Only what
is certain counts as a fault; what the source does not show is left to the import (``--list-plugins --load``,
``run``).
"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from dicomnode.plugins import hookspecs
from dicomnode.plugins.plugin import GROUPS, Plugin, PluginStatus, Registration
from dicomnode.plugins.registry import HOST_DISTRIBUTION, Registry
from dicomnode.plugins.source import ImportedName, Module, SourceError, Sources, statements

_ROOTS = {
    "pipelines": ("dicomnode.pipeline.pipelines", "AbstractPipeline"),
    "inputs": ("dicomnode.pipeline.inputs", "AbstractInput"),
    "elements": ("dicomnode.dicom.elements.virtual_element", "VirtualElement"),
    "outputs": ("dicomnode.pipeline.outputs", "PipelineOutput"),
}
_EXITS = {"sys.exit", "os._exit", "exit", "quit"}
_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class HookFunction:
    """A hook implementation as its source shows it."""

    name: str
    arguments: tuple[str, ...]
    optional: bool
    wrapper: bool

    def fault(self) -> str | None:
        """Say why pluggy would refuse it, ``None`` where it would not."""
        arguments = hook_arguments().get(self.name)
        if arguments is None:
            return None if self.optional else f"this host has no hook {self.name}"
        if self.wrapper and self.name not in hookspecs.WRAPPABLE:
            return f"there is nothing to wrap in {self.name}"
        if wrong := [name for name in self.arguments if name not in arguments]:
            return f"{self.name} has no argument {', '.join(wrong)}; it has {', '.join(arguments)}"
        return None


@cache
def hook_arguments() -> dict[str, tuple[str, ...]]:
    """Return the hooks of this host, and the arguments of each."""
    return {
        name: tuple(inspect.signature(function).parameters)
        for name, function in vars(hookspecs).items()
        if name in hookspecs.INTERVENTIONS | hookspecs.NOTIFICATIONS
    }


def examine(registry: Registry) -> None:
    """Note with each active plugin its hooks, and what its source shows to be wrong. Nothing is imported."""
    sources = Sources()
    for plugin in registry.plugins:
        if plugin.status is PluginStatus.ACTIVE and plugin.distribution != HOST_DISTRIBUTION:
            _examine(plugin, sources)


def may_implement(registration: Registration, hook: str, sources: Sources) -> bool:
    """Say whether an entry point's hook module may have a hook: it does, or its source does not show it."""
    try:
        module = _module_of(registration, sources)
        found, complete = _hook_functions(registration.entry_point.attr, module, sources)
    except (SourceError, ValueError):
        return False  # it would be left out; --list-plugins shows why
    return not complete or any(function.name == hook for function in found)


def _examine(plugin: Plugin, sources: Sources) -> None:
    for registration in plugin.registrations:
        where = f"{registration.name} = {registration.value}"
        try:
            module = _module_of(registration, sources)
            if registration.kind == "hooks":
                plugin.note_hooks(_hooks(registration, module, sources))
            else:
                _check_class(registration, module, sources)
        except SourceError as error:
            plugin.fail(f"{where}: {error}")


def _module_of(registration: Registration, sources: Sources) -> Module:
    """Return the module of an entry point.

    Raises
    ------
    SourceError
        When importing it, or a package that it is in, would certainly fail.
    """
    parts = registration.entry_point.module.split(".")
    return [_importable_module(".".join(parts[:end]), sources) for end in range(1, len(parts) + 1)][-1]


def _importable_module(name: str, sources: Sources) -> Module:
    module = sources.module(name)
    if module is None:
        msg = f"there is no module {name!r}"
        raise SourceError(msg)
    for line, fault in _import_faults(module, sources):
        msg = f"{name}:{line} {fault}"
        raise SourceError(msg)
    return module


def _import_faults(module: Module, sources: Sources) -> Iterator[tuple[int, str]]:
    """Yield the statements that are run whenever a module is imported, and cannot end well."""
    if module.tree is None:
        return
    knows_better = any(
        isinstance(each, ast.Attribute) and ast.unparse(each) in {"sys.path", "sys.meta_path", "sys.modules"}
        for each in ast.walk(module.tree)
    )
    for statement in module.tree.body:
        match statement:
            case ast.Raise():
                yield statement.lineno, f"raises when it is imported: {ast.unparse(statement)}"
            case ast.Expr(value=ast.Call(func=function)) if ast.unparse(function) in _EXITS:
                yield statement.lineno, f"ends the process when it is imported: {ast.unparse(statement)}"
            case ast.Import(names=names) if not knows_better:
                for alias in names:
                    if not sources.exists(top := alias.name.partition(".")[0]):
                        yield statement.lineno, f"imports {top}, which is not installed"
            case ast.ImportFrom(names=names, level=level, module=origin) if not knows_better:
                name = module.absolute(origin, level)
                needed = name if level else name.partition(".")[0]
                if not sources.exists(needed):
                    yield statement.lineno, f"imports {needed}, which is not installed"
                elif name == "dicomnode":
                    yield from ((statement.lineno, fault) for fault in _face_faults(names, sources))


def _face_faults(names: list[ast.alias], sources: Sources) -> Iterator[str]:
    """Yield what a plugin wants of the public face and this host does not have."""
    face = sources.module("dicomnode")
    for alias in names:
        known = face is None or face.opaque or alias.name == "*" or alias.name in face.bindings
        if not known and not sources.exists(f"dicomnode.{alias.name}"):
            yield f"imports {alias.name} from dicomnode, which this version does not have"


def _check_class(registration: Registration, module: Module, sources: Sources) -> None:
    """Raise SourceError where an entry point certainly does not give a class of its group's kind."""
    name = registration.entry_point.attr
    root = _ROOTS[registration.kind]
    wanted = f"the group {GROUPS[registration.kind]} takes subclasses of {root[1]}"
    if not name:
        msg = f"{module.name} is a module; {wanted}"
        raise SourceError(msg)
    if "." in name or module.opaque:
        return
    if name not in module.bindings:
        if not sources.exists(f"{module.name}.{name}"):
            msg = f"module {module.name} has no {name}"
            raise SourceError(msg)
        return
    match sources.definition(module, name):
        case (_, ast.FunctionDef() | ast.AsyncFunctionDef()):
            msg = f"{name} is a function; {wanted}"
            raise SourceError(msg)
        case (where, ast.ClassDef() as node) if _descends(where, node, root, sources) is False:
            msg = f"{name} is no subclass of {root[1]}; {wanted}"
            raise SourceError(msg)


def _descends(
    module: Module, node: ast.ClassDef, root: tuple[str, str], sources: Sources, depth: int = 0
) -> bool | None:
    """Say whether a class descends from another; ``None`` where the source does not show it."""
    if (module.name, node.name) == root:
        return True
    if (module.name, node.name) in _ROOTS.values():
        return False
    if depth > _DEEPEST:
        return None
    verdicts: list[bool | None] = []
    for base in node.bases:
        expression = base.value if isinstance(base, ast.Subscript) else base
        match sources.resolve(module, expression):
            case (where, ast.ClassDef() as above):
                verdicts.append(_descends(where, above, root, sources, depth + 1))
            case _:
                name = ast.unparse(expression)
                builtin = hasattr(builtins, name) and name not in module.bindings
                verdicts.append(False if builtin else None)
    if any(verdicts):
        return True
    return None if None in verdicts else False


def _hooks(registration: Registration, module: Module, sources: Sources) -> list[str]:
    """Return the names of the hooks that an entry point implements, as far as the source shows.

    Raises
    ------
    SourceError
        When pluggy would refuse them.
    """
    found, complete = _hook_functions(registration.entry_point.attr, module, sources)
    for function in found:
        if fault := function.fault():
            raise SourceError(fault)
    if complete and not found:
        msg = "it implements no hook; put @dicomnode.hookimpl above each function"
        raise SourceError(msg)
    return sorted(function.name for function in found)


def _hook_functions(
    attribute: str | None, module: Module, sources: Sources
) -> tuple[list[HookFunction], bool]:
    """Return the hook implementations of a module or of an object in it, and whether these are all."""
    if attribute is None:
        return list(_of_module(module, sources)), not module.opaque
    if "." in attribute:
        return [], False
    if attribute not in module.bindings and not module.opaque:
        msg = f"module {module.name} has no {attribute}"
        raise SourceError(msg)
    found = sources.definition(module, attribute)
    if found is not None and isinstance(found[1], ast.Assign) and isinstance(found[1].value, ast.Call):
        found = sources.resolve(found[0], found[1].value.func)
    match found:
        case (where, ast.ClassDef() as node):
            pass
        case _:
            return [], False
    methods = [each for each in statements(node.body) if isinstance(each, ast.FunctionDef)]
    made = [_as_hook(method, where, method=True) for method in methods]
    return [each for each in made if each is not None], not node.bases


def _of_module(module: Module, sources: Sources) -> Iterator[HookFunction]:
    for name in module.bindings:
        found = sources.definition(module, name) if name.startswith("dicomnode_") else None
        if found is None:
            bound = module.bindings[name]
            found = (module, bound[-1]) if isinstance(bound[-1], ast.FunctionDef) else None
        if found is None or not isinstance(found[1], ast.FunctionDef):
            continue
        if (function := _as_hook(found[1], found[0], method=False)) is not None:
            yield function


def _as_hook(node: ast.FunctionDef, module: Module, *, method: bool) -> HookFunction | None:
    """Return a function as the hook implementation that it is marked as, ``None`` where it is not marked."""
    for decorator in node.decorator_list:
        marker = decorator.func if isinstance(decorator, ast.Call) else decorator
        if not _is_marker(marker, module):
            continue
        keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
        options = {each.arg: each.value.value for each in keywords if isinstance(each.value, ast.Constant)}
        arguments = [*node.args.posonlyargs, *node.args.args]
        without_default = arguments[: len(arguments) - len(node.args.defaults)]
        return HookFunction(
            name=str(options.get("specname") or node.name),
            arguments=tuple(each.arg for each in without_default[1 if method else 0 :]),
            optional=bool(options.get("optionalhook")),
            wrapper=bool(options.get("wrapper") or options.get("hookwrapper")),
        )
    return None


def _is_marker(expression: ast.expr, module: Module) -> bool:
    """Say whether a decorator is dicomnode's ``hookimpl``, or a marker that the module made itself."""
    if isinstance(expression, ast.Attribute):
        return expression.attr == "hookimpl"
    if not isinstance(expression, ast.Name):
        return False
    if expression.id == "hookimpl" and ImportedName("dicomnode", "*") in module.bindings.get("*", []):
        return True
    for bound in module.bindings.get(expression.id, []):
        if getattr(bound, "name", None) == "hookimpl":
            return True
        if isinstance(bound, ast.Assign) and "HookimplMarker" in ast.unparse(bound.value):
            return True
    return False
