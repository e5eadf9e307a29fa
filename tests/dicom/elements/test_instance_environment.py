"""What an element is given for each instance, and what it gives back."""

import dataclasses

import pytest
from pydicom.dataelem import DataElement

from dicomnode.dicom.elements.instance_environment import (
    InstanceEnvironment,
    InstanceProducer,
    PreparedElement,
    prepared,
)
from dicomnode.dicom.values.tags import parse_tag


class Producer(InstanceProducer):
    """Produces, and cannot say its bytes beforehand."""

    tag, creator = parse_tag("ImageComments")

    def produce(self, environment):
        return DataElement(self.tag, "LT", f"slice {environment.index}")


class Preparing(Producer):
    """Says its bytes for every instance but the first."""

    def prepare(self, environment):
        if environment.index == 0:
            return None
        return PreparedElement(self.tag, b"encoded", lambda: self.produce(environment))


def test_an_environment_has_defaults_and_cannot_be_changed():
    """An element cannot tell the next one something by way of the environment."""
    environment = InstanceEnvironment(0, 1)
    assert (environment.source, environment.image, environment.pixels, environment.header) == (None,) * 4
    assert environment.total == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        environment.index = 1


def test_a_producer_need_not_prepare():
    """One without ``prepare``, such as a plugin's, has to produce."""
    assert prepared(Producer(), InstanceEnvironment(1, 2)) is None


def test_a_producer_may_prepare_some_instances():
    """Where it gives nothing it has to produce; where it gives bytes they come with the element."""
    assert prepared(Preparing(), InstanceEnvironment(0, 1)) is None
    ready = prepared(Preparing(), InstanceEnvironment(1, 2))
    assert ready is not None
    assert ready.encoded == b"encoded"
    assert ready.make().value == "slice 1"
    assert ready.make() is not ready.make()
