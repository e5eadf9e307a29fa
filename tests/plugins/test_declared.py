"""Pipelines declared in the configuration: by name, checked at the start, and through the whole route."""

import json
import os

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomnode.cli.loopback import send_files
from dicomnode.dicom.blueprint.blueprint import FillingStrategy
from dicomnode.dicom.geometry.grinders import ListGrinder, NumpyGrinder, TagGrinder
from dicomnode.errors import ConfigurationError, OutputError, PluginError
from dicomnode.host.configuration.config_loading import load_config
from dicomnode.host.configuration.configured_pipeline import configure_pipelines
from dicomnode.host.isolation.isolation import Isolation
from dicomnode.pipeline.container import InputContainer, Job
from dicomnode.pipeline.outputs import DicomOutput, FileOutput, NoOutput
from dicomnode.pipeline.patient_container import PatientContainer
from dicomnode.plugins.declared import resolve_pipeline
from dicomnode.plugins.registry import Registry
from dicomnode.testing import synthetic_series
from running_host import RunningHost
from sources import ct_slices

SITE = """
    import numpy as np
    from pydicom import Dataset
    from dicomnode import AbstractInput, FileOutput, NoOutput, NumpyGrinder, VirtualElement

    class Counted(VirtualElement):
        \"\"\"How many sources there were, and a word from the configuration.\"\"\"

        def __init__(self, tag, word="sources"):
            super().__init__(tag)
            self.word = word

        def corporealize(self, factory, sources):
            return self.element(f"{len(sources)} {self.word}")

    class CT(AbstractInput):
        required_values = {"Modality": "CT"}
        image_grinder = NumpyGrinder()

    class Report(FileOutput):
        name = "site-report"

        def __init__(self, result, title="report"):
            super().__init__({f"{title}.txt": f"mean {np.asarray(result).mean():.1f}"})

    def halve(inputs, factor=0.5):
        return np.asarray(inputs["ct"]) * factor

    def mean(inputs):
        return {"mean.txt": str(np.asarray(inputs["ct"]).mean())}

    def nothing(inputs): ...

    def outputs(inputs):
        return [NoOutput(), FileOutput({"a.txt": "a"})]

    def number(instance):
        return instance.instance_number

    def first(candidates):
        return next(iter(candidates))

    not_a_function = 3
"""
ENTRY_POINTS = {
    "elements": {"site-counted": "site_plugin:Counted"},
    "inputs": {"site-ct": "site_plugin:CT"},
    "outputs": {"site-report": "site_plugin:Report"},
}
BLUEPRINT = {
    "base": "ct",
    "elements": {
        "SeriesDescription": "Halved",
        "ImageComments": {"element": "site-counted", "word": "slices"},
        "BodyPartExamined": {"element": "copy", "optional": True},
    },
}


@pytest.fixture
def site(plugins):
    """Install a plugin that registers an element, an input and an output, and has functions."""
    plugins.install("site-plugin", ENTRY_POINTS, modules={"site_plugin.py": SITE})
    return plugins


@pytest.fixture
def registry(site):
    return Registry(only=["site-plugin"])


def declared(registry, **table):
    """Return the class that a table declares."""
    table = {"inputs": {"ct": "site-ct"}, "process": "site_plugin:halve", **table}
    return resolve_pipeline(
        registry, "halved", declared={k: v for k, v in table.items() if v is not None}
    ).kind


def ground(kind, images, tmp_path):
    """Return what ``process`` of a pipeline receives of some images."""
    inputs = {name: each(name) for name, each in kind.inputs.items()}
    for image in images:
        next(iter(inputs.values())).insert(image)
    return InputContainer(
        inputs,
        blueprint=kind.blueprint,
        filling_strategy=kind.filling_strategy,
        header_input=kind.chosen_header_input(),
        job=Job("1", "identity", tmp_path),
    )


def done(kind, tmp_path, settings=None):
    """Run a pipeline on a CT series and return its outputs."""
    pipeline = kind(kind.validated_settings(settings or {}))
    pipeline.setup()
    outputs = pipeline.process(ground(kind, ct_slices(), tmp_path))
    return outputs if isinstance(outputs, list) else [outputs]


# -- inputs -----------------------------------------------------------------------------------------------


def test_inputs_are_registered_ones_by_name(registry):
    """A name alone is a registered input as it is."""
    kind = declared(registry)
    assert kind("").inputs["ct"]("ct").why_not(dataset(Modality="MR")) == "Modality is MR, not CT"
    assert isinstance(kind.inputs["ct"].image_grinder, NumpyGrinder)


def test_inputs_are_changed_by_their_table(registry):
    """Rules and grinders as data; a list is one of several, matches is a pattern."""
    table = {
        "required_values": {"Modality": ["CT", "MR"], "SeriesDescription": {"matches": "(?i)axial"}},
        "required_tags": ["PixelSpacing"],
        "grinder": "list",
        "optional": True,
        "expected_images": 5,
    }
    held = declared(registry, inputs={"any": table}).inputs["any"]("any")
    fine = dataset(Modality="MR", SeriesDescription="Axial 5mm", PixelSpacing=[1, 1])
    assert held.why_not(fine) is None
    assert (
        held.why_not(dataset(Modality="PT", SeriesDescription="axial", PixelSpacing=[1, 1]))
        == "Modality is PT, not CT or MR"
    )
    assert "SeriesDescription is sagittal" in held.why_not(
        dataset(Modality="CT", SeriesDescription="sagittal", PixelSpacing=[1, 1])
    )
    assert (
        held.why_not(dataset(Modality="CT", SeriesDescription="axial")) == "PixelSpacing is missing or empty"
    )
    assert (held.optional, held.expected_images, held.image_grinder) == (True, 5, ListGrinder())


@pytest.mark.parametrize(
    ("grinder", "expected"),
    [
        ("volume", NumpyGrinder()),
        ({"grinder": "volume", "options": {"allow_tilt": True}}, NumpyGrinder(allow_tilt=True)),
        ({"grinder": "tags", "tags": ["EchoTime", "FlipAngle"]}, TagGrinder("EchoTime", "FlipAngle")),
        ("dicomnode:ListGrinder", ListGrinder()),
        ("builtins:len", len),
    ],
)
def test_grinders_by_name(registry, grinder, expected):
    """The library's by a word, any other as module:object."""
    kind = declared(registry, inputs={"any": {"grinder": grinder}})
    assert kind.inputs["any"].image_grinder == expected


@pytest.mark.parametrize(
    ("choice", "counts", "missing"),
    [
        ("largest", (2, 3, 1), ""),
        ("largest", (1, 2, 2), "ct: 3 series fit, and a job takes one"),
        ("site_plugin:first", (3, 4), ""),
        ("builtins:sum", (2, 3), "ct: choose_series raised TypeError"),
    ],
)
def test_which_series_is_chosen(registry, choice, counts, missing):
    """The largest, unless two are equally large; or what a function returns of the candidates."""
    kind = declared(registry, inputs={"ct": {"input": "site-ct", "choose_series": choice}})
    container = PatientContainer("4711", kind.inputs)
    for number, count in enumerate(counts, 1):
        container.add_images(synthetic_series("CT", (count, 4, 4), series=number))
    found = container.completeness(raising=False)
    assert str(found).startswith(missing)
    assert bool(found.missing) is bool(missing)
    assert len(found.inputs["ct"]) == (sum(counts) if missing else 3)


# -- processing -------------------------------------------------------------------------------------------


def test_a_function_processes_and_its_array_becomes_dicom(registry, tmp_path):
    """The settings are its keyword arguments; an array is built into a series with the declared header."""
    (output,) = done(declared(registry, blueprint=BLUEPRINT), tmp_path, {"factor": 0.25})
    assert isinstance(output, DicomOutput)
    made = list(output.datasets)
    sources = ct_slices()
    assert len(made) == len(sources)
    assert made[0].SeriesDescription == "Halved"
    assert made[0].ImageComments == "5 slices"
    by_position = {float(each.ImagePositionPatient[2]): each for each in sources}
    for each in made:
        source = by_position[float(each.ImagePositionPatient[2])]
        expected = 0.25 * (source.pixel_array * float(source.RescaleSlope) + float(source.RescaleIntercept))
        found = each.pixel_array * float(each.RescaleSlope) + float(each.RescaleIntercept)
        assert np.abs(found - expected).max() <= float(each.RescaleSlope)


def test_outputs_are_registered_ones_by_name(registry, tmp_path):
    """Several outputs of one result, with arguments, those of plugins too."""
    outputs = ["dicom", {"output": "site-report", "arguments": {"title": "mean"}}]
    made = done(declared(registry, outputs=outputs), tmp_path)
    assert [type(each).__name__ for each in made] == ["DicomOutput", "Report"]
    assert list(made[1].files) == ["mean.txt"]


def test_a_function_may_return_files_or_outputs(registry, tmp_path):
    """A mapping goes to the file output as it is; outputs are taken as they are."""
    (files,) = done(declared(registry, process="site_plugin:mean", outputs=["file"]), tmp_path)
    assert isinstance(files, FileOutput)
    none, file = done(declared(registry, process="site_plugin:outputs"), tmp_path)
    assert isinstance(none, NoOutput)
    assert list(file.files) == ["a.txt"]


def test_a_function_that_returns_nothing_is_told(registry, tmp_path):
    """None is a forgotten return, not an empty result."""
    with pytest.raises(OutputError, match="site_plugin:nothing returned None"):
        done(declared(registry, process="site_plugin:nothing"), tmp_path)


def test_a_registered_pipeline_can_be_changed_by_its_table(site):
    """Inputs and blueprint of an installed pipeline as a site wants them; it processes as before."""
    pipeline = """
        from dicomnode import AbstractInput, AbstractPipeline, NoOutput

        class Pipeline(AbstractPipeline):
            inputs = {"images": AbstractInput}

            def process(self, inputs):
                return NoOutput()
    """
    site.install(
        "acme", {"pipelines": {"acme": "acme_pipeline:Pipeline"}}, modules={"acme_pipeline.py": pipeline}
    )
    registry = Registry(only=["acme", "site-plugin"])
    table = {"inputs": {"images": "site-ct"}, "blueprint": BLUEPRINT, "filling_strategy": "copy"}
    plain, changed = resolve_pipeline(registry, "acme"), resolve_pipeline(registry, "x", "acme", table)
    assert issubclass(changed.kind, plain.kind)
    assert changed.registration == plain.registration
    assert changed.kind.inputs["images"].required_values == {"Modality": "CT"}
    assert changed.kind.filling_strategy is FillingStrategy.COPY
    assert "ImageComments" in changed.kind.blueprint
    assert resolve_pipeline(registry, "y", declared={"process": "acme"}).registration == plain.registration
    with pytest.raises(ConfigurationError, match="'acme' makes its outputs itself"):
        resolve_pipeline(registry, "acme", declared={"outputs": ["dicom"]})


def test_a_site_says_when_an_input_of_an_installed_pipeline_is_whole(site):
    """The rest of the input is as its author made it, and so are the pipeline's other inputs."""
    pipeline = """
        from dicomnode import AbstractInput, AbstractPipeline, NoOutput

        class CT(AbstractInput):
            required_values = {"Modality": "CT"}
            expected_images = 7

        class Pipeline(AbstractPipeline):
            inputs = {"ct": CT, "pet": AbstractInput}

            def process(self, inputs):
                return NoOutput()
    """
    site.install(
        "acme", {"pipelines": {"acme": "acme_pipeline:Pipeline"}}, modules={"acme_pipeline.py": pipeline}
    )
    registry = Registry(only=["acme", "site-plugin", "dicomnode-host"])

    def changed(**inputs):
        return resolve_pipeline(registry, "acme", declared={"inputs": inputs}).kind

    own = resolve_pipeline(registry, "acme").kind.inputs
    found = changed(ct={"expected_images": "peer", "choose_series": "largest"}).inputs
    assert list(found) == ["ct", "pet"]
    assert found["pet"] is own["pet"]
    assert issubclass(found["ct"], own["ct"])
    assert found["ct"].required_values == {"Modality": "CT"}
    assert (found["ct"].expectation(), found["ct"].chooses_series()) == ("peer", True)
    assert (own["ct"].expectation(), own["ct"].chooses_series()) == (7, False)
    anything = changed(ct={"input": "images"}).inputs["ct"]
    assert (anything.required_values, anything.expectation()) == ({}, None)
    told = "inputs.CT: the installed pipeline has no such input; it has: ct, pet"
    with pytest.raises(ConfigurationError, match=told):
        changed(CT={"expected_images": 5})


# -- what is wrong is told at the start ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"inputs": None}, "inputs: a pipeline that is declared needs at least one"),
        (
            {"inputs": {"ct": "site-cd"}},
            "no installed plugin registers 'site-cd' in dicomnode.inputs; there are: images, site-ct",
        ),
        ({"inputs": {"ct": {"required_tags": ["Modalty"]}}}, "inputs.ct: "),
        (
            {"inputs": {"ct": {"required_values": {"Modality": {"matches": "("}}}}},
            "inputs.ct.required_values.Modality: '\\(' is not a regular",
        ),
        (
            {"inputs": {"ct": {"grinder": "volum"}}},
            "inputs.ct.grinder: there is no grinder 'volum'; there are: volume",
        ),
        (
            {"inputs": {"ct": {"choose_series": "biggest"}}},
            "inputs.ct.choose_series: 'biggest' is none of: largest, module:function",
        ),
        (
            {"inputs": {"ct": {"choose_series": "site_plugin:nobody"}}},
            "inputs.ct.choose_series: site_plugin:nobody cannot be imported",
        ),
        (
            {"inputs": {"ct": {"grinder": {"grinder": "volume", "options": {"tilt": 1}}}}},
            "inputs.ct.grinder: volume: ",
        ),
        (
            {"blueprint": "derived"},
            "blueprint: there is no ready-made blueprint 'derived'; there are: .*derived_image",
        ),
        (
            {"blueprint": {"elements": {"PatintID": "x"}}},
            r"blueprint\.elements\.PatintID: .*did you mean PatientID",
        ),
        (
            {"blueprint": {"elements": {"PatientID": {"element": "cpy"}}}},
            "no installed plugin registers 'cpy' in dicomnode.elements",
        ),
        ({"blueprint": {"elements": {"PatientID": {"value": "x"}}}}, "PatientID: say which element it is"),
        (
            {"blueprint": {"elements": {"PatientID": {"element": "copy", "optinal": True}}}},
            "PatientID: .*optinal",
        ),
        (
            {"blueprint": {"elements": {"(0029,xx01)": {"element": "copy"}}}},
            "a private attribute needs private_creator",
        ),
        ({"blueprint": {"elements": {"Modality": "computed tomography"}}}, "blueprint.elements.Modality: "),
        ({"blueprint": {"SOPClassUID": "CTImage"}}, "blueprint: SOPClassUID='CTImage' is neither"),
        (
            {
                "blueprint": {
                    "elements": {"InstanceNumber": {"element": "call", "function": {"import": "site_plugin"}}}
                }
            },
            "not of the form module:name",
        ),
        ({"outputs": ["dicm"]}, "no installed plugin registers 'dicm' in dicomnode.outputs"),
    ],
)
def test_what_is_wrong_is_told_by_its_key(registry, table, told):
    """Before any image arrives, with what there is to choose from."""
    with pytest.raises((ConfigurationError, PluginError), match=told):
        declared(registry, **table)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("site_plugin:halv", "module site_plugin has no halv"),
        ("site_plugin_of_nobody:halve", "there is no module 'site_plugin_of_nobody'"),
        ("site_plugin:", "has no function of no name"),
    ],
)
def test_a_function_that_is_not_there_is_told_without_importing(registry, step, told):
    """Its source is looked at; the host imports nothing."""
    with pytest.raises(ConfigurationError, match=told):
        declared(registry, process=step).check_definition()


@pytest.mark.parametrize(
    ("step", "settings", "told"),
    [
        ("site_plugin:halve", {"faktor": 2}, r"cannot be called as halve\(inputs, faktor\): .*faktor"),
        ("site_plugin:not_a_function", {}, "3 is not a callable"),
    ],
)
def test_settings_that_do_not_fit_the_function_are_told_by_the_worker(registry, step, settings, told):
    """Before it processes anything."""
    kind = declared(registry, process=step)
    with pytest.raises(ConfigurationError, match=told):
        kind(settings).setup()


def test_a_module_of_nobody_is_known_by_its_text(plugins):
    """Its version is a digest: a job is not done by another text than it was made for."""
    (plugins.folder / "loose.py").write_text("def step(inputs): ...\n")
    table = {"inputs": {"images": "images"}, "process": "loose:step"}
    first = resolve_pipeline(Registry(only=[]), "x", declared=table).registration
    assert first.distribution == "loose"
    (plugins.folder / "loose.py").write_text("def step(inputs): return 1\n")
    assert resolve_pipeline(Registry(only=[]), "x", declared=table).registration.version != first.version


# -- the configuration, and the route -----------------------------------------------------------------------

CONFIG = """
[plugins]
only = ["site-plugin"]

[pipelines.halved]
ae_title = "HALF"
process = "site_plugin:halve"
settings = { factor = 0.5 }
blueprint = "halved.toml"
outputs = ["dicom", { output = "site-report", arguments = { title = "mean" } }]
destinations = ["file:RESULTS"]

[pipelines.halved.inputs]
ct = { input = "site-ct", expected_images = 5 }
"""
BLUEPRINT_FILE = """
base = "ct"

[elements]
SeriesDescription = "Halved"
ImageComments = { element = "site-counted", word = "slices" }
"""


def test_the_declaration_travels_as_plain_data(site, tmp_path):
    """What the configuration declares, its blueprint file included, is data that JSON can carry."""
    (tmp_path / "halved.toml").write_text(BLUEPRINT_FILE)
    file = tmp_path / "dicomnode.toml"
    file.write_text(CONFIG)
    config = load_config(file, {})
    (configured,) = configure_pipelines(config, Registry(only=["site-plugin"]), Isolation.of(config))
    plain = configured.table.declaration()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["blueprint"]["elements"]["SeriesDescription"] == "Halved"
    again = resolve_pipeline(Registry(only=["site-plugin"]), "halved", configured.registration.name, plain)
    assert again.registration == configured.registration
    assert again.kind.blueprint == configured.kind.blueprint


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            'blueprint = "gone.toml"',
            r"pipelines\.halved\.blueprint: .*gone\.toml cannot be read: No such file",
        ),
        (
            'blueprint = "halved.toml"\nproces = "x"',
            r"dicomnode\.toml:\d+: pipelines\.halved\.proces: unknown key",
        ),
        (
            'blueprint = "halved.toml"\ninputs = { ct = { grindr = "volume" } }',
            r"pipelines\.halved\.inputs\.ct\.grindr: unknown key",
        ),
    ],
)
def test_a_wrong_key_is_told_with_file_and_line(tmp_path, line, told):
    """As everywhere in the configuration."""
    (tmp_path / "halved.toml").write_text(BLUEPRINT_FILE)
    file = tmp_path / "dicomnode.toml"
    file.write_text(f"[pipelines.halved]\n{line}\n")
    with pytest.raises(ConfigurationError, match=told):
        load_config(file, {})


def test_a_pipeline_declared_in_toml_alone_runs_the_whole_route(site, tmp_path):
    """Images in over a real association; a derived series and a report out, with a plugin's element."""
    results = tmp_path / "results"
    host_folder = tmp_path / "host"
    host_folder.mkdir()
    (host_folder / "halved.toml").write_text(BLUEPRINT_FILE)
    files = []
    for index, image in enumerate(ct_slices()):
        files.append(tmp_path / f"{index}.dcm")
        image.save_as(files[-1], enforce_file_format=True)
    path = os.pathsep.join([str(site.folder), os.environ.get("PYTHONPATH", "")])
    config = CONFIG.replace("RESULTS", str(results))
    with RunningHost(host_folder, config, environment={"PYTHONPATH": path}) as host:
        assert send_files(files, ("127.0.0.1", host.port), "HALF") == [0] * len(files)
        host.wait_for_jobs(1)
    made = [pydicom.dcmread(each) for each in results.rglob("*.dcm")]
    assert len(made) == len(files)
    assert {each.SeriesDescription for each in made} == {"Halved"}
    assert {each.ImageComments for each in made} == {"5 slices"}
    assert [each.name for each in results.rglob("*.txt")] == ["mean.txt"]


def dataset(**values):
    image = Dataset()
    for keyword, value in values.items():
        setattr(image, keyword, value)
    return image
