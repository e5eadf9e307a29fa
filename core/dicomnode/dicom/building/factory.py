"""Factories: what makes headers, datasets and series from blueprints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from pydicom.dataset import Dataset

from dicomnode.dicom.blueprint.blueprint import Blueprint, FillingStrategy
from dicomnode.dicom.building.encoding import add_file_meta
from dicomnode.dicom.building.header import SeriesHeader, make_header
from dicomnode.dicom.elements.instance_environment import InstanceEnvironment
from dicomnode.dicom.geometry.slice_sorting import sort_by_geometry
from dicomnode.dicom.values.equipment import Equipment
from dicomnode.dicom.values.uids import UIDSource


class DicomFactory(ABC):
    """Builds a dataset, a header or a series from a blueprint.

    Subclass it for a kind of data of your own: :meth:`build_series` says how the data become instances. The
    attributes of a factory are what a blueprint's ``AttrElement`` reads.
    """

    def make_header(
        self,
        blueprint: Blueprint,
        sources: Iterable[Dataset],
        *,
        uids: UIDSource | None = None,
        filling_strategy: FillingStrategy = FillingStrategy.DISCARD,
        equipment: Equipment | None = None,
    ) -> SeriesHeader:
        """Make a blueprint real for a set of source datasets.

        Parameters
        ----------
        blueprint : Blueprint
            What the result's header holds.
        sources : iterable of Dataset
            The source datasets in any order; the header sorts them by geometry. They are not changed.
        uids : UIDSource, optional
            Where new UIDs come from; random ones if not given.
        filling_strategy : FillingStrategy
            Whether attributes that the blueprint does not mention are copied.
        equipment : Equipment, optional
            The software that makes the result.

        Returns
        -------
        SeriesHeader

        Raises
        ------
        MissingTagsError
            When sources or factory lack attributes: all of them are named, by keyword.
        """
        held = list(sources)
        stack = sort_by_geometry(held) if held else None
        return make_header(
            self,
            blueprint,
            () if stack is None else stack.images,
            uids=uids or UIDSource.random(),
            filling_strategy=filling_strategy,
            equipment=equipment,
            stack=stack,
        )

    def build(
        self, blueprint: Blueprint, source: Dataset | None = None, *, uids: UIDSource | None = None
    ) -> Dataset:
        """Build one dataset without pixels: a document, a report, a start.

        Parameters
        ----------
        blueprint : Blueprint
            What it holds.
        source : Dataset, optional
            What it is derived from.
        uids : UIDSource, optional
            Where its UIDs come from; random ones if not given.

        Returns
        -------
        Dataset
            With new SOP and Series Instance UIDs unless the blueprint says which, and with file meta
            information if it has a SOP class.

        Raises
        ------
        MissingTagsError
            When the source lacks attributes.
        """
        header = self.make_header(blueprint, () if source is None else (source,), uids=uids)
        dataset = header.instance(InstanceEnvironment(0, 1, source, header=header, factory=self))
        made = (header.uids or UIDSource.random()).series()
        for keyword, value in (
            ("SOPInstanceUID", made.SOPInstanceUID(0)),
            ("SeriesInstanceUID", made.SeriesInstanceUID),
            ("InstanceNumber", 1),
        ):
            if keyword not in blueprint:
                setattr(dataset, keyword, value)
        if "SOPClassUID" in dataset:
            add_file_meta(dataset)
        return dataset

    @abstractmethod
    def build_series(self, header: SeriesHeader, data: Any) -> Sequence[Dataset]:
        """Build the instances of a series.

        Parameters
        ----------
        header : SeriesHeader
            From :meth:`make_header`.
        data : object
            What the kind of factory takes.

        Returns
        -------
        sequence of Dataset
            Complete instances with file meta information.
        """


__all__ = ["DicomFactory"]
