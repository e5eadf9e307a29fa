"""What a pipeline produced, and how it becomes files in the outbox."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydicom.dataset import Dataset

from dicomnode.dicom.building.built_series import BuiltSeries, EncodedInstance, encode_series
from dicomnode.errors import OutputError
from dicomnode.pipeline.destination import Destination, OutboxItem, Outcome


class PipelineOutput(ABC):
    """What a pipeline produced and where it must go.

    The worker calls :meth:`write`; once the files are durable in the outbox, the host calls :meth:`deliver`,
    perhaps after a restart, and finds the class again by the name of its entry point (group
    ``dicomnode.outputs``).

    Attributes
    ----------
    name : str
        The name of the entry point under which the class is registered.
    destinations : tuple of str, or None
        The destinations by name; ``None`` for those that the pipeline is configured with.
    """

    name: ClassVar[str]

    def __init__(self, destinations: Iterable[str] | None = None) -> None:
        self.destinations = None if destinations is None else tuple(destinations)

    @abstractmethod
    def write(self, folder: Path) -> Sequence[OutboxItem]:
        """Write the output into an empty folder of the outbox and say what was written.

        Parameters
        ----------
        folder : pathlib.Path
            An existing folder that is this output's own.

        Returns
        -------
        sequence of OutboxItem
            One for each thing to deliver. The worker makes the files durable afterwards.
        """

    @classmethod
    def goes_to(cls, destination: Destination) -> bool:  # noqa: ARG003 - the author's argument
        """Say whether this kind of output can be delivered to a destination."""
        return True

    @classmethod
    def deliver(
        cls, items: Sequence[OutboxItem], destination: Destination
    ) -> Iterator[tuple[OutboxItem, Outcome]]:
        """Deliver items and report each as soon as its outcome is known.

        Called in the host, on the destination's own thread. An item that is not reported is tried again.
        """
        return destination.send(items)


class NoOutput(PipelineOutput):
    """The pipeline ran and there is nothing to deliver."""

    name = "none"

    def write(self, folder: Path) -> Sequence[OutboxItem]:  # noqa: ARG002 - nothing to write
        """Write nothing."""
        return ()


class DicomOutput(PipelineOutput):
    """DICOM instances, delivered by C-STORE to peers and as Part 10 files to folders.

    Parameters
    ----------
    datasets : pydicom.Dataset or iterable of pydicom.Dataset
        Complete instances with file meta information, as a factory builds them.
    destinations : iterable of str, optional
        Names of destinations, when not those that the pipeline is configured with.
    """

    name = "dicom"

    def __init__(
        self, datasets: Dataset | Iterable[Dataset], destinations: Iterable[str] | None = None
    ) -> None:
        super().__init__(destinations)
        self.datasets: Sequence[Dataset] = _sequence(datasets)

    def write(self, folder: Path) -> Sequence[OutboxItem]:
        """Write each instance as a Part 10 file (PS3.10 section 7).

        Of a :class:`~dicomnode.BuiltSeries` no dataset is made, and what its instances share is encoded once.

        Raises
        ------
        OutputError
            When there is no dataset, or what was given is not one, or it cannot be encoded.
        """
        if not self.datasets:
            msg = "DicomOutput was given no dataset. Return NoOutput() when there is nothing to deliver."
            raise OutputError(msg)
        items = []
        encoded = encode_series(self.datasets)
        for index in range(len(self.datasets)):
            folders = _folders(self.datasets[0 if isinstance(self.datasets, BuiltSeries) else index], index)
            try:
                instance = next(encoded)
            except Exception as error:
                msg = f"dataset {index + 1} of {len(self.datasets)} cannot be written as DICOM: {error}"
                raise OutputError(msg) from error
            items.append(self._write_one(folder / f"{index:06d}.dcm", instance, folders))
        return items

    def _write_one(self, path: Path, instance: EncodedInstance, folders: tuple[str, ...]) -> OutboxItem:
        with path.open("wb") as file:
            file.writelines(instance.parts)
        return OutboxItem(
            output=self.name,
            path=path,
            SOPInstanceUID=instance.SOPInstanceUID,
            SOPClassUID=instance.SOPClassUID,
            TransferSyntaxUID=instance.TransferSyntaxUID,
            folders=folders,
            file_name=f"{instance.SOPInstanceUID}.dcm",
            destinations=self.destinations,
        )


def _sequence(datasets: Dataset | Iterable[Dataset]) -> Sequence[Dataset]:
    if isinstance(datasets, Dataset):
        return (datasets,)
    return datasets if isinstance(datasets, BuiltSeries) else tuple(datasets)


def _folders(dataset: object, index: int) -> tuple[str, ...]:
    """Return the folders that an instance is filed in where a destination has folders: patient, series."""
    if not isinstance(dataset, Dataset):
        msg = f"DicomOutput takes pydicom Datasets; number {index + 1} is a {type(dataset).__name__}"
        raise OutputError(msg)
    return str(dataset.get("PatientID", "")), str(dataset.get("SeriesInstanceUID", ""))


class FileOutput(PipelineOutput):
    """Files of any kind, delivered to folder destinations, in a folder of the pipeline and the patient.

    Parameters
    ----------
    files : mapping of str to (bytes, str or pathlib.Path)
        File name at the destination -> its content, or the path of a file to copy.
    destinations : iterable of str, optional
        Names of destinations, when not those that the pipeline is configured with.
    """

    name = "file"

    def __init__(
        self, files: Mapping[str, bytes | str | Path], destinations: Iterable[str] | None = None
    ) -> None:
        super().__init__(destinations)
        self.files = dict(files)

    def write(self, folder: Path) -> Sequence[OutboxItem]:
        """Write each file under a number; its name is for the destination to make safe.

        Raises
        ------
        OutputError
            When there is no file, or a content is neither bytes, text nor a path.
        """
        if not self.files:
            msg = "FileOutput was given no file. Return NoOutput() when there is nothing to deliver."
            raise OutputError(msg)
        items = []
        for index, (file_name, content) in enumerate(self.files.items()):
            path = folder / f"{index:06d}"
            path.write_bytes(_content(file_name, content))
            items.append(
                OutboxItem(output=self.name, path=path, file_name=file_name, destinations=self.destinations)
            )
        return items

    @classmethod
    def goes_to(cls, destination: Destination) -> bool:
        """Files go to folders only."""
        return destination.takes_files


def _content(file_name: str, content: object) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, Path):
        try:
            return content.read_bytes()
        except OSError as error:
            msg = f"FileOutput cannot read {file_name!r} from {content}: {error.strerror}"
            raise OutputError(msg) from error
    msg = f"FileOutput takes bytes, text or a pathlib.Path for {file_name!r}, not {type(content).__name__}"
    raise OutputError(msg)
