"""The hooks, typed: one method a hook, so that no other module calls pluggy.

An intervention's answer counts: any veto wins, additions are merged or their conflict is reported, and of
those that do the whole thing (``dicomnode_process``, ``dicomnode_executor``) the first result wins. A
notification reaches every plugin on its own, and the failure of one does not keep it from the others. In
whatever order plugins were installed, the outcome is the same: they are called sorted by name.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import pluggy

from dicomnode.errors import OutputError, PluginError
from dicomnode.pipeline.outputs import PipelineOutput
from dicomnode.plugins import defaults, hookspecs
from dicomnode.plugins.examination import may_implement
from dicomnode.plugins.hook_calls import call_each, first_veto
from dicomnode.plugins.looks_at import LOOKS_AT
from dicomnode.plugins.merging import merged_blueprint, merged_commands
from dicomnode.plugins.registry import Registry
from dicomnode.plugins.source import Sources

if TYPE_CHECKING:
    import click
    from pydicom.dataset import Dataset

    from dicomnode.dicom.blueprint.blueprint import Blueprint
    from dicomnode.pipeline.container import InputContainer
    from dicomnode.pipeline.inputs import AbstractInput
    from dicomnode.pipeline.pipelines import AbstractPipeline

_log = logging.getLogger("dicomnode.plugins")
_CORE = "dicomnode"


class Hooks:
    """The registered hook implementations.

    Parameters
    ----------
    registry : Registry
        Whose hook modules are imported. One that cannot be used is noted there and left out.
    implementing : str, optional
        The one hook that will be called: modules whose source shows that they lack it are not imported.
    """

    def __init__(self, registry: Registry, implementing: str | None = None) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
        self._manager.add_hookspecs(hookspecs)
        self._manager.register(defaults, name=_CORE)
        # pluggy calls the last registered first: registered in reverse, the first by name is called first.
        by_name = sorted(registry.registrations("hooks"), key=lambda each: (each.distribution, each.name))
        sources = Sources()
        for registration in reversed(by_name):
            if implementing and not may_implement(registration, implementing, sources):
                continue
            plugin = registry.plugin_of(registration)
            try:
                implementation = registry.load_registration(registration)
                plugin.note_hooks(
                    self._register(implementation, f"{registration.distribution}:{registration.name}")
                )
            except PluginError as error:
                plugin.fail(str(error))
                _log.error("%s", error)

    def register(self, implementation: object, name: str) -> None:
        """Register an object with hook implementations under a name of its own.

        Raises
        ------
        PluginError
            When it implements no hook or an unknown one, asks for arguments that a hook does not have, or
            wraps a hook that cannot be wrapped.
        """
        self._register(implementation, name)

    def _register(self, implementation: object, name: str) -> list[str]:
        """Register and return the names of the hooks implemented; register nothing where one is wrong."""
        try:
            self._manager.register(implementation, name=name)
        except (pluggy.PluginValidationError, ValueError) as error:
            reason = str(error).replace("\n", "; ")
        else:
            callers = self._manager.get_hookcallers(implementation) or []
            reason = _fault(callers, implementation)
            if not reason:
                return sorted(caller.name for caller in callers)
        if self._manager.is_registered(implementation):
            self._manager.unregister(implementation)
        msg = f"hooks of {name} cannot be used: {reason}"
        raise PluginError(msg)

    @property
    def image_validators(self) -> tuple[str, ...]:
        """The plugins that decide with others whether an image belongs, in order of their names."""
        hook = self._manager.hook.dicomnode_validate_image
        return tuple(sorted(each.plugin_name for each in hook.get_hookimpls()))

    @property
    def looked_at(self) -> frozenset[int]:
        """The tags that implementations of ``dicomnode_validate_image`` say that they look at."""
        hook = self._manager.hook.dicomnode_validate_image
        return frozenset().union(*(getattr(each.function, LOOKS_AT, ()) for each in hook.get_hookimpls()))

    @property
    def plugins_validate_images(self) -> bool:
        """Whether any plugin but the core decides whether an image belongs."""
        return self.image_validators != (_CORE,)

    # -- interventions ------------------------------------------------------------------------------------

    def validate_image(self, pipeline: AbstractPipeline, input_name: str, image: Dataset) -> str | None:
        """Return the reason to refuse an image to an input, or ``None`` where no implementation refuses.

        Raises
        ------
        Exception
            What an implementation raised, with a note that names its plugin; a refusal by another one comes
            first.
        """
        return first_veto(
            self._manager.hook.dicomnode_validate_image,
            {"pipeline": pipeline, "input_name": input_name, "image": image},
        )

    def validate_input(
        self,
        pipeline: AbstractPipeline,
        container_key: str,
        patient_id: str,
        input_name: str,
        held: AbstractInput,
    ) -> str | None:
        """Return what an input is still missing, or ``None`` where no implementation holds it back.

        Raises
        ------
        Exception
            As :meth:`validate_image`.
        """
        return first_veto(
            self._manager.hook.dicomnode_validate_input,
            {
                "pipeline": pipeline,
                "container_key": container_key,
                "patient_id": patient_id,
                "input_name": input_name,
                "input": held,
            },
        )

    def blueprint(self, pipeline: AbstractPipeline, blueprint: Blueprint) -> Blueprint:
        """Return the blueprint with everything that plugins add.

        Raises
        ------
        PluginError
            When two plugins want different things of one attribute, or something else than a blueprint came
            back.
        """
        given = {"pipeline": pipeline, "blueprint": blueprint}
        return merged_blueprint(blueprint, call_each(self._manager.hook.dicomnode_blueprint, given))

    def process(self, pipeline: AbstractPipeline, inputs: InputContainer) -> list[PipelineOutput]:
        """Process a patient's inputs and return every output, those that plugins add included.

        Raises
        ------
        OutputError
            When something else than outputs came back.
        Exception
            Whatever the pipeline raises.
        """
        result = self._manager.hook.dicomnode_process(pipeline=pipeline, inputs=inputs)
        outputs = _outputs(result, f"{type(pipeline).__name__}.process")
        further: list[PipelineOutput] = []
        for output in outputs:
            for added in self._manager.hook.dicomnode_output(pipeline=pipeline, output=output):
                further.extend(_outputs(added, "a dicomnode_output hook"))
        return outputs + further

    def executor(self, config: Any) -> Executor:
        """Return what runs jobs.

        Raises
        ------
        PluginError
            When no plugin provides one, or something else than an executor is provided.
        """
        executor = self._manager.hook.dicomnode_executor(config=config)
        if isinstance(executor, Executor):
            return executor
        what = type(executor).__name__
        msg = f"a dicomnode_executor hook returned {what}, not a concurrent.futures.Executor"
        raise PluginError(msg)

    # -- notifications ------------------------------------------------------------------------------------

    def host_started(self, host: Any) -> None:
        """Notify that the host receives."""
        self._notify(self._manager.hook.dicomnode_host_started, host=host)

    def host_stopping(self, host: Any) -> None:
        """Notify that the host is about to stop."""
        self._notify(self._manager.hook.dicomnode_host_stopping, host=host)

    def job_changed(self, job: Any) -> None:
        """Notify that a job's state changed."""
        self._notify(self._manager.hook.dicomnode_job_changed, job=job)

    def commands(self, cli: click.Group) -> None:
        """Let plugins add commands. One whose name is taken is reported and left out."""
        for problem in merged_commands(cli, self._manager.hook.dicomnode_commands):
            _log.error("%s", problem)

    def _notify(self, hook: pluggy.HookCaller, **given: Any) -> None:
        """Call each implementation on its own, also after one has failed."""
        for result in call_each(hook, given):
            if result.error is not None:
                # What a plugin raises may hold patient data, so that only its type is logged before DEBUG.
                what = type(result.error).__name__
                _log.error("%s of the plugin %s failed: %s", hook.name, result.plugin, what)
                _log.debug("%s of the plugin %s", hook.name, result.plugin, exc_info=result.error)


def _fault(callers: Iterable[pluggy.HookCaller], implementation: object) -> str:
    """Say what is wrong with what pluggy took from an object, empty where nothing is."""
    faults: dict[str, list[str]] = defaultdict(list)
    found = False
    for caller in callers:
        found = True
        for each in caller.get_hookimpls():
            if each.plugin is not implementation:
                continue
            if not caller.has_spec() and not each.optionalhook:
                faults["this host has no hook"].append(caller.name)
            elif (each.wrapper or each.hookwrapper) and caller.name not in hookspecs.WRAPPABLE:
                faults["there is nothing to wrap in"].append(caller.name)
    if not found:
        return "it implements no hook; put @dicomnode.hookimpl above each function"
    return "; ".join(f"{what} {', '.join(sorted(names))}" for what, names in sorted(faults.items()))


def _outputs(result: object, source: str) -> list[PipelineOutput]:
    """Return what came back as a list of outputs."""
    if isinstance(result, PipelineOutput):
        return [result]
    if isinstance(result, Iterable) and not isinstance(result, str | bytes):
        outputs = list(result)
        if all(isinstance(output, PipelineOutput) for output in outputs):
            return outputs
    msg = (
        f"{source} returned {type(result).__name__}, not a PipelineOutput. Return DicomOutput(datasets), "
        "FileOutput(files), NoOutput(), or a list of these."
    )
    raise OutputError(msg)
