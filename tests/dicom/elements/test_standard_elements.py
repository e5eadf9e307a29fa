"""Virtual elements."""

import copy
import functools
import pickle

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import (
    AttrElement,
    CallElement,
    CopyElement,
    DiscardElement,
    InstanceCopyElement,
    SeriesElement,
    StaticElement,
)
from dicomnode.dicom.elements.virtual_element import VirtualElement
from dicomnode.dicom.values.tags import PrivateTag
from dicomnode.errors import BlueprintError, InvalidValueError, MissingTagsError
from sources import ct_slices


def number_of(instance):
    return instance.instance_number


ELEMENTS = [
    StaticElement("SeriesDescription", "x"),
    StaticElement("AnatomicRegionSequence", [Dataset()]),
    CopyElement("PatientID"),
    CopyElement("PatientID", default=None),
    AttrElement("PatientID", "name"),
    DiscardElement("PatientID"),
    SeriesElement("PatientID", str),
    CallElement("InstanceNumber", number_of),
    InstanceCopyElement("ImagePositionPatient"),
    StaticElement(PrivateTag(0x0029, 1, "ACME"), "x", VR="LO"),
]


def patient(**attributes):
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize("element", ELEMENTS, ids=repr)
def test_an_element_is_immutable_hashable_and_survives_a_pickle(element):
    """Elements may be shared, put into sets and sent to a worker."""
    with pytest.raises(AttributeError, match="immutable"):
        element.tag = 1
    with pytest.raises(AttributeError, match="immutable"):
        del element.tag
    for twin in (copy.deepcopy(element), pickle.loads(pickle.dumps(element))):
        assert twin == element
        assert hash(twin) == hash(element)
        with pytest.raises(AttributeError, match="immutable"):
            twin.tag = 1


def test_a_repr_names_keyword_and_value():
    """What a message shows of an element can be read."""
    assert repr(StaticElement("Modality", "CT")) == "StaticElement('Modality', 'CT')"
    assert repr(CopyElement("PatientID", default=None)) == "CopyElement('PatientID', default=None)"
    assert "number_of" in repr(CallElement("InstanceNumber", number_of))


def test_elements_of_a_plugin_may_set_attributes_in_init():
    """A subclass is written like any class, and is sealed when made."""

    class Upper(VirtualElement):
        def __init__(self, tag, text):
            super().__init__(tag)
            self.text = text

        def corporealize(self, factory, sources):
            return self.element(self.text.upper())

    element = Upper("PatientID", "abc")
    assert element.corporealize(None, ()).value == "ABC"
    with pytest.raises(AttributeError, match="immutable"):
        element.text = "def"


def test_the_vr_comes_from_the_dictionary_and_may_not_contradict_it():
    """A wrong VR is an error when the element is written."""
    assert StaticElement("PatientID", "x").VR == "LO"
    with pytest.raises(
        InvalidValueError, match=r"PatientID: VR SH given, but the DICOM dictionary .* says LO"
    ):
        StaticElement("PatientID", "x", VR="SH")


def test_a_private_element_needs_a_vr_unless_pydicom_knows_it():
    """Private attributes take their VR from the author, or from pydicom's private dictionary."""
    with pytest.raises(InvalidValueError, match="say its VR"):
        StaticElement(PrivateTag(0x0029, 1, "ACME"), "x")
    assert StaticElement(PrivateTag(0x0019, 0x0C, "SIEMENS MR HEADER"), 1000).VR == "IS"


def test_a_static_value_is_checked_when_it_is_written():
    """A wrong value raises where the blueprint is defined and not when a series is sent."""
    with pytest.raises(InvalidValueError, match="Modality"):
        StaticElement("Modality", "computed tomography")


def test_a_static_value_never_leaks_between_results():
    """Editing what came of an element, or what went in, edits nothing else."""
    item = patient(CodeValue="1")
    element = StaticElement("AnatomicRegionSequence", [item])
    item.CodeValue = "2"
    element.corporealize(None, ()).value[0].CodeValue = "3"
    element.value[0].CodeValue = "4"
    assert element.corporealize(None, ()).value[0].CodeValue == "1"


def test_copies_are_deep():
    """Editing the output never edits the source."""
    source = patient(PatientID="A", OtherPatientIDsSequence=[patient(PatientID="B")])
    copied = CopyElement("OtherPatientIDsSequence").corporealize(None, [source])
    copied.value[0].PatientID = "changed"
    assert source.OtherPatientIDsSequence[0].PatientID == "B"


def test_an_element_keeps_nothing_of_a_series():
    """The same element gives each patient that patient's value: nothing leaks into the next."""
    element = CopyElement("PatientID", optional=True)
    assert element.corporealize(None, [patient(PatientID="A")]).value == "A"
    assert element.corporealize(None, [patient()]) is None
    assert element.corporealize(None, [patient(PatientID="B")]).value == "B"


def test_a_missing_attribute_is_left_out_defaulted_or_reported():
    """Optional, default and required copies of what the source lacks."""
    assert CopyElement("PatientID", optional=True).corporealize(None, [patient()]) is None
    assert CopyElement("PatientID", default="none").corporealize(None, [patient()]).value == "none"
    assert CopyElement("PatientID", default=None).corporealize(None, [patient()]).is_empty
    with pytest.raises(MissingTagsError, match="PatientID: 1 of 1 source") as caught:
        CopyElement("PatientID").corporealize(None, [patient()])
    assert caught.value.keywords == ("PatientID",)
    with pytest.raises(MissingTagsError, match="no source datasets"):
        CopyElement("PatientID").corporealize(None, [])


def test_a_copy_takes_the_first_source_that_has_the_attribute():
    """A source without the attribute is passed over."""
    assert CopyElement("PatientID").corporealize(None, [patient(), patient(PatientID="A")]).value == "A"


def test_one_position_is_not_copied_to_all_slices():
    """A series-wide copy of what differs by slice is an error that names the right element."""
    with pytest.raises(BlueprintError, match=r"use InstanceCopyElement\('ImagePositionPatient'\)"):
        CopyElement("ImagePositionPatient").corporealize(None, ct_slices())


def test_a_private_copy_follows_the_creator():
    """The source's block number does not matter."""
    source = patient()
    source.private_block(0x0029, "OTHER", create=True).add_new(0x01, "LO", "theirs")
    source.private_block(0x0029, "ACME", create=True).add_new(0x01, "LO", "ours")
    assert CopyElement(PrivateTag(0x0029, 1, "ACME")).corporealize(None, [source]).value == "ours"


class Factory:
    """What an AttrElement reads."""

    name = "Smooth"
    settings = Dataset()


def test_an_attribute_of_the_factory_is_read_and_checked():
    """Also one behind dots; a missing one is reported like a missing tag."""
    assert AttrElement("SeriesDescription", "name").corporealize(Factory(), ()).value == "Smooth"
    assert AttrElement("PatientID", "name.__class__.__name__").corporealize(Factory(), ()).value == "str"
    with pytest.raises(MissingTagsError, match="PatientID: Factory has no attribute 'missing'"):
        AttrElement("PatientID", "missing").corporealize(Factory(), ())
    assert AttrElement("PatientID", "missing.deeper", optional=True).corporealize(Factory(), ()) is None
    with pytest.raises(BlueprintError, match="not the name of an attribute"):
        AttrElement("PatientID", "not a name")


class Counter:
    """Callables of every kind that authors have."""

    def __init__(self):
        self.calls = 0

    def without(self):
        """Return how often it was called."""
        self.calls += 1
        return f"call {self.calls}"

    def with_sources(self, sources):
        """Return how many sources there are."""
        return f"{len(sources)} sources"

    def __call__(self, *, unused=None):
        return "called"

    @staticmethod
    def static():
        """Return a constant."""
        return "static"

    @classmethod
    def class_method(cls, sources):
        """Return the name of the class."""
        return cls.__name__


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda: "lambda", "lambda"),
        (lambda sources: sources[0].PatientID, "A"),
        (Counter().without, "call 1"),
        (Counter().with_sources, "1 sources"),
        (Counter(), "called"),
        (Counter.static, "static"),
        (Counter.class_method, "Counter"),
        (functools.partial(lambda prefix, sources: f"{prefix}{len(sources)}", "n="), "n=1"),
        (functools.partial(Counter.with_sources, Counter()), "1 sources"),
        (str, ""),
    ],
)
def test_any_callable_makes_a_series_element(function, expected):
    """Function, bound method, partial, object, class: what can be called with or without sources."""
    made = SeriesElement("SeriesDescription", function).corporealize(None, [patient(PatientID="A")])
    assert (made.value or "") == expected


def test_a_series_element_that_returns_none_leaves_the_tag_out():
    """``None`` means no element, as in a CallElement."""
    assert SeriesElement("PatientID", lambda: None).corporealize(None, ()) is None


@pytest.mark.parametrize("function", [5, lambda a, b: None, lambda *, needed: None])
@pytest.mark.parametrize("kind", [SeriesElement, CallElement])
def test_what_cannot_be_called_is_refused_when_written(kind, function):
    """A function that needs more than it is given is an error at definition."""
    with pytest.raises(BlueprintError, match="SeriesDescription"):
        kind("SeriesDescription", function)


def test_a_call_element_is_asked_for_each_instance():
    """Its value is not shared within the series; ``None`` leaves the tag out of that instance only."""
    element = CallElement("InstanceNumber", lambda instance: instance.index * 10 or None)
    producer = element.corporealize(None, ())
    assert producer.produce(InstanceEnvironment(0, 1)) is None
    assert producer.produce(InstanceEnvironment(1, 2)).value == 10
    assert producer.produce(InstanceEnvironment(2, 3)).value == 20


def test_a_call_elements_value_is_checked():
    """What a function returns must fit the VR as well."""
    with pytest.raises(InvalidValueError, match=r"InstanceNumber.*'x'"):
        CallElement("InstanceNumber", lambda instance: "x").produce(InstanceEnvironment(0, 1))


def test_an_instance_copy_takes_each_slices_own_source():
    """Source slice n to result slice n."""
    first, second = patient(SliceLocation=1), patient(SliceLocation=2)
    element = InstanceCopyElement("SliceLocation")
    assert element.corporealize(None, [first, second]) is element
    assert element.produce(InstanceEnvironment(0, 1, first)).value == 1
    assert element.produce(InstanceEnvironment(1, 2, second)).value == 2


def test_an_instance_copy_reports_what_a_source_lacks_before_anything_is_built():
    """One slice without the attribute is found when the header is made."""
    with pytest.raises(MissingTagsError, match="SliceLocation: 1 of 2 source datasets"):
        InstanceCopyElement("SliceLocation").corporealize(None, [patient(SliceLocation=1), patient()])


def test_an_instance_copy_without_a_source_is_an_error_unless_optional():
    """A result slice where no source lies has nothing to copy."""
    with pytest.raises(MissingTagsError, match=r"instance 3 .*no source image lies there"):
        InstanceCopyElement("SliceLocation").produce(InstanceEnvironment(2, 3))
    assert InstanceCopyElement("SliceLocation", optional=True).produce(InstanceEnvironment(2, 3)) is None
    assert InstanceCopyElement("SliceLocation", default=0).produce(InstanceEnvironment(2, 3)).value == 0


def test_only_what_must_be_copied_is_required():
    """required_tags names what a source must have."""
    required = {element.keyword for element in ELEMENTS if element.required_tags()}
    assert required == {"PatientID", "ImagePositionPatient"}
    assert not CopyElement("PatientID", optional=True).required_tags()
