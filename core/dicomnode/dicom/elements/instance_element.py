"""The base of the elements that differ from instance to instance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset

from dicomnode.dicom.elements.instance_environment import InstanceProducer
from dicomnode.dicom.elements.virtual_element import Corporeal, VirtualElement


class InstanceElement(VirtualElement, InstanceProducer):
    """An element that differs from instance to instance; subclass it and write :meth:`produce`."""

    def corporealize(self, factory: Any, sources: Sequence[Dataset]) -> Corporeal:  # noqa: ARG002 - asked per instance
        """Return the element itself: it is asked again for each instance."""
        return self
