"""Elements whose value a function works out."""

import functools

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.elements.standard_elements import (
    CallElement,
    SeriesElement,
)
from dicomnode.errors import BlueprintError, InvalidValueError


def patient(**attributes):
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


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
