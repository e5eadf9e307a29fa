"""Elements that differ from instance to instance."""

import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.elements.instance_element import InstanceElement
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment, InstanceProducer


class Place(InstanceElement):
    """An author's own: where the instance is in the series."""

    def produce(self, environment):
        return self.element(f"{environment.instance_number} of {environment.total}")


def test_an_instance_element_is_its_own_producer():
    """Made real for a series it is itself, and is asked for each instance; sources do not matter."""
    element = Place("ImageComments")
    producer = element.corporealize(None, [Dataset()])
    assert producer is element
    assert isinstance(producer, InstanceProducer)
    assert producer.produce(InstanceEnvironment(1, 2, total=5)).value == "2 of 5"


def test_what_does_not_produce_cannot_be_made():
    """Forgetting ``produce`` is an error when the blueprint is written."""

    class Forgotten(InstanceElement):
        pass

    with pytest.raises(TypeError, match="produce"):
        Forgotten("ImageComments")
