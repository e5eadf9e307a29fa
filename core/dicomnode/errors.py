"""Every exception that dicomnode raises on purpose, in one family.

::

    DicomnodeError
    ├── DicomError                 floor 1: a DICOM object cannot be read or built
    │   ├── InvalidValueError      a value does not fit its VR, or a tag is unknown
    │   ├── StructureError         an encoded data set that cannot be read to its end
    │   ├── BlueprintError         a blueprint contradicts itself or its SOP class
    │   ├── MissingTagsError       the source lacks tags that a blueprint needs (all of them named)
    │   ├── PixelDataError         an array or Pixel Data that cannot become the other
    │   ├── GeometryError          slices that do not form one volume (positions named)
    │   ├── ImageTreeError         an image that does not go into this tree
    │   │   └── DuplicateImageError
    │   └── FileGoneError          the file behind a LazyDataset has gone
    ├── ConfigurationError         the configuration is wrong: names file, key and what to do
    │   └── SettingsError          a pipeline's own settings are wrong (all of them named)
    ├── PluginError                a plugin is broken, missing or in conflict
    ├── ImageRefusedError          an image belongs to no input, or a rule refused it
    ├── InputsIncompleteError      something is still missing (a pipeline's inputs are not complete)
    ├── OutputError                what a pipeline returned cannot be sent out
    ├── JobFailedError             a job ended without a result
    ├── DeliveryError              a destination did not take a result
    ├── JobStateError              there is no such job, or its state does not allow what was asked
    ├── DataDirectoryError         the host's data directory is unusable, or in use by another host
    └── ListenError                the host cannot listen at its address

A message says what is wrong, where it came from and what to do about it. It is meant for the reader, so it
carries no traceback with it; patient data stays out of it unless the caller put them there.
"""

from __future__ import annotations

from collections.abc import Sequence


class DicomnodeError(Exception):
    """The base of every exception that dicomnode raises on purpose."""


class DicomError(DicomnodeError):
    """A DICOM object cannot be read or built."""


class InvalidValueError(DicomError, ValueError):
    """A value does not fit its value representation (PS3.5 section 6.2), or a tag is not known."""


class StructureError(DicomError):
    """An encoded data set that cannot be read to its end. The message names tag and offset, never a value."""


class BlueprintError(DicomError):
    """A blueprint contradicts itself or the SOP class that it names."""


class MissingTagsError(DicomError):
    """The source datasets lack attributes that a blueprint needs.

    Parameters
    ----------
    message : str
        The whole message.
    keywords : sequence of str
        The keyword (or ``(gggg,eeee)`` where there is none) of every missing attribute.
    """

    def __init__(self, message: str, keywords: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.keywords: tuple[str, ...] = tuple(keywords)


class PixelDataError(DicomError, ValueError):
    """An array that cannot become Pixel Data, or Pixel Data that cannot become an array."""


class GeometryError(DicomError):
    """Slices that do not form one regular volume. The message names the positions."""


class ImageTreeError(DicomError):
    """An image that does not go into this tree."""


class DuplicateImageError(ImageTreeError):
    """An image whose SOP Instance UID is in the tree already."""


class FileGoneError(DicomError, FileNotFoundError):
    """The file behind a :class:`~dicomnode.LazyDataset` is no longer there."""


class ConfigurationError(DicomnodeError):
    """The configuration is wrong. The message names the file, the key and what to do."""


class SettingsError(ConfigurationError):
    """The settings of a pipeline are wrong.

    Parameters
    ----------
    problems : sequence of (tuple of str, str)
        For each that is wrong its key (within the settings) and what is wrong with it.
    variables : sequence of str
        The environment variables that are missing, where nothing else is wrong.
    """

    def __init__(
        self, problems: Sequence[tuple[tuple[str, ...], str]], variables: Sequence[str] = ()
    ) -> None:
        super().__init__("; ".join(f"{'.'.join(key) or 'settings'}: {what}" for key, what in problems))
        self.problems = tuple(problems)
        self.variables = tuple(variables)


class PluginError(DicomnodeError):
    """A plugin is broken, missing, or claims a name that is taken."""


class ImageRefusedError(DicomnodeError):
    """An image that no input wants, or that a rule refused. The message is the reason."""


class InputsIncompleteError(DicomnodeError):
    """The inputs of a patient are not complete yet. The message says what is missing."""


class OutputError(DicomnodeError):
    """What a pipeline returned cannot be sent out."""


class JobFailedError(DicomnodeError):
    """A job ended without a result. The message says why, and may quote the plugin: keep it out of INFO.

    Parameters
    ----------
    message : str
        The reason, for whoever may see the job.
    kind : str
        What went wrong in one word, such as ``"timeout"``
        (:class:`dicomnode.host.jobs.job_failure.Failure`): safe for a log or a metric.
    log_tail : str
        The end of what the job wrote to its standard output and error, and its traceback. Plain text from the
        plugin, escapes and all: show it through :func:`~dicomnode.safe_text`.
    summary : str
        The message without the words of a plugin, so that it names no patient.
    """

    def __init__(self, message: str, kind: str = "failed", log_tail: str = "", *, summary: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.log_tail = log_tail
        self.summary = summary


class DeliveryError(DicomnodeError):
    """A destination did not take a result.

    Parameters
    ----------
    message : str
        Why.
    comment : str
        What a peer says of it in words of its own. They may name a patient: the log has them at DEBUG only.

    Attributes
    ----------
    message : str
        As given: the whole text is message and comment.
    """

    def __init__(self, message: str = "", comment: str = "") -> None:
        super().__init__(f"{message}, {comment}" if comment else message)
        self.message = message


class JobStateError(DicomnodeError, ValueError):
    """There is no such job, or its state does not allow what was asked. The message says what it is."""


class DataDirectoryError(DicomnodeError):
    """The host's data directory cannot be used, or another host holds it."""


class ListenError(DicomnodeError):
    """The host cannot listen at its address: the port is in use, or may not be used."""
