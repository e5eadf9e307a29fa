"""The named inputs of a pipeline: which images belong, and when they are complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from dicomnode.dicom.geometry.grinders import Grinder, ListGrinder
from dicomnode.dicom.geometry.slice_sorting import sort_by_geometry
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.reading.planes import PLANE_KEYWORDS
from dicomnode.dicom.tree.image_tree import ImageTreeInterface
from dicomnode.errors import ConfigurationError, DuplicateImageError, ImageRefusedError


class Not:
    """A rule that no value of an attribute may fulfil.

    Parameters
    ----------
    *rules : a rule each
        As in :attr:`AbstractInput.required_values`.

    Examples
    --------
    >>> class CT(AbstractInput):
    ...     required_values = {"Modality": "CT", "ImageType": Not("LOCALIZER", "SECONDARY")}
    """

    def __init__(self, *rules: Rule) -> None:
        if not rules:
            raise ConfigurationError("Not() forbids nothing: name the values that an image may not have")
        self.rules = rules

    def __repr__(self) -> str:
        return f"Not({', '.join(map(repr, self.rules))})"


Rule = str | int | float | Collection[Any] | re.Pattern[str] | Callable[[Any], bool] | Not
"""What the value of an attribute must be: a value, one of several, a pattern, a predicate, :class:`Not`."""

_UIDS = 0x0020000D, 0x0020000E

_PLAIN_RULES = frozenset({str, set, frozenset, tuple, list, re.Pattern})
"""Rules that ask nothing of text but what it is: they need no element made of it."""

CheckResult = bool | str | None
"""What a check returns: ``None`` or ``True`` for yes, ``False`` for no, a text for no and why."""


def reason_of(result: CheckResult, otherwise: str) -> str | None:
    """Turn the result of a check into a reason, or ``None`` where the check passed.

    Parameters
    ----------
    result : bool, str or None
        What the check returned.
    otherwise : str
        The reason for a plain ``False``.

    Raises
    ------
    TypeError
        When the check returned something else.
    """
    if result is None or result is True:
        return None
    if result is False:
        return otherwise
    if isinstance(result, str):
        return result or otherwise
    msg = f"a check must return None or True (yes), False (no) or the reason as text, not {result!r}"
    raise TypeError(msg)


class AbstractInput(ImageTreeInterface):
    """The images of one named input of a pipeline, of one patient.

    Subclass it, say which images belong and what they are ground into, and name the class in the pipeline's
    ``inputs``.

    Attributes
    ----------
    required_tags : collection of str or int
        Attributes that an image must have, with a value, to belong here. Those that the pipeline's own
        blueprint copies from this input are required without being named.
    required_values : mapping of str or int to a rule
        What the value of an attribute must be: a value (equality), a set, list or tuple (one of them), a
        compiled regular expression (it must match from the start; see :func:`re.match`), or a function that
        is given the value and returns whether it will do. Of a multi-valued attribute any value may match;
        :class:`Not` is fulfilled where none does, and where the attribute is missing.
    image_grinder : Grinder
        What turns the images into that which ``process`` receives under the input's name.
    optional : bool
        Whether a job may start with no image here.
    several_series : bool
        Whether images of more than one series may come together here. Unless it is set, a second series is
        refused while the first is waiting.
    several_studies : bool
        The same for studies.
    expected_images : int or str, optional
        How many images make the input complete: a number, or the keyword of the attribute that says it
        (``"ImagesInAcquisition"``, ``"NumberOfSlices"``).
    complete_volume : bool
        Whether the images must form one volume without gaps (by position, not by number) to be complete.

    Parameters
    ----------
    name : str
        The name of this input in the pipeline.
    copied_tags : collection of int
        What the pipeline's blueprint copies from this input's images.
    """

    required_tags: ClassVar[Collection[str | int]] = ()
    required_values: ClassVar[Mapping[str | int, Rule]] = {}
    image_grinder: ClassVar[Grinder] = ListGrinder()
    optional: ClassVar[bool] = False
    several_series: ClassVar[bool] = False
    several_studies: ClassVar[bool] = False
    expected_images: ClassVar[int | str | None] = None
    complete_volume: ClassVar[bool] = False

    def __init__(self, name: str = "", copied_tags: Collection[int] = ()) -> None:
        super().__init__()
        self.name = name or type(self).__name__
        self.copied_tags = copied_tags
        # Rules are asked for every image: what does not change is worked out once.
        must_be = (tag for tag, rule in self.required_values.items() if not isinstance(rule, Not))
        self._needed = tuple(int(Tag(tag)) for tag in (*self.required_tags, *must_be))
        self._rules = tuple((int(Tag(tag)), rule) for tag, rule in self.required_values.items())
        self._ruled = tuple(tag for tag, _ in self._rules)
        self._first: tuple[Dataset | None, tuple[Any, Any]] = None, ("", "")

    # -- what an author overrides -------------------------------------------------------------------------

    def validate_image(self, image: Dataset) -> CheckResult:  # noqa: ARG002 - the author's argument
        """Say whether an image that passed the rules belongs here.

        It may look at the images that are here already, but is not to rely on what earlier calls left in
        variables: where the host has several receiver processes, each of them calls it.

        Parameters
        ----------
        image : pydicom.Dataset
            The image; touching Pixel Data reads the file.

        Returns
        -------
        bool, str or None
            ``None`` or ``True``: it belongs. ``False`` or a text: it does not, and why.
        """
        return None

    def validate(self) -> CheckResult:
        """Say whether the input is complete.

        Called when an association that brought an image has been released. It must not block. Override it to
        ask for more; call ``super().validate()`` to keep what is asked for here.

        Returns
        -------
        bool, str or None
            ``None`` or ``True``: complete. ``False`` or a text: not yet, and what is missing. The default
            asks for one image at least, unless the input is optional, for :attr:`expected_images`, and for a
            volume where :attr:`complete_volume` is set.
        """
        if not self:
            return None if self.optional else "no image yet"
        return self._too_few() or self._gap()

    # -- what the host asks -------------------------------------------------------------------------------

    @classmethod
    def indexed_tags(cls) -> frozenset[BaseTag]:
        """Return the tags that the rules look at, which the receiver reads while an image arrives."""
        counted = (cls.expected_images,) if isinstance(cls.expected_images, str) else ()
        placed = PLANE_KEYWORDS if cls.complete_volume else ()
        return frozenset(Tag(tag) for tag in (*cls.required_tags, *cls.required_values, *counted, *placed))

    def why_not(self, image: Dataset) -> str | None:
        """Say why an image does not belong here, or ``None`` when it does.

        Raises
        ------
        Exception
            Whatever the author's :meth:`validate_image` or a predicate raises.
        """
        return (
            self._missing_tag(image)
            or self._other_value(image)
            or self._missing_copy(image)
            or self.conflict(image)
            or reason_of(self.validate_image(image), f"{type(self).__name__}.validate_image said no")
        )

    def claims(self, image: Dataset) -> bool:  # noqa: ARG002 - for those that fetch
        """Say whether an image came because this input asked for it, so that it is for no other input."""
        return False

    def was_refused(self, image: Dataset) -> None:
        """Learn that an image was refused, by a rule or by a hook."""

    def missing(self) -> str | None:
        """Say what is missing, or ``None`` when the input is complete."""
        return reason_of(self.validate(), f"{type(self).__name__}.validate says it is not complete")

    def add_image(self, image: Dataset) -> None:
        """Add an image that belongs here.

        Raises
        ------
        ImageRefusedError
            When it does not belong; the message is the reason.
        DuplicateImageError
            When an image of its SOP Instance UID is here already.
        """
        if image.SOPInstanceUID in self:
            msg = f"input {self.name!r} holds the instance {image.SOPInstanceUID} already"
            raise DuplicateImageError(msg)
        reason = self.why_not(image)
        if reason is not None:
            raise ImageRefusedError(reason)
        self.insert(image)

    def insert(self, image: Dataset) -> None:
        """Add an image that has been found to belong here before, so that no rule is asked again."""
        self._insert(image)

    def ground(self) -> Any:
        """Return what ``process`` receives for this input: the images through the grinder."""
        return self.image_grinder(tuple(self))

    # -- the rules ----------------------------------------------------------------------------------------

    def _missing_tag(self, image: Dataset) -> str | None:
        for tag, indexed in zip(self._needed, _plain(image, self._needed), strict=True):
            if indexed is None:
                element = image.get(tag)
                if element is None or element.value in (None, "", b"") or element.value == []:
                    return f"{_keyword(tag)} is missing or empty"
        return None

    def _other_value(self, image: Dataset) -> str | None:
        for (tag, rule), plain in zip(self._rules, _plain(image, self._ruled), strict=True):
            if isinstance(rule, Not):
                if (found := _forbidden(image, tag, rule)) is not None:
                    return f"{_keyword(tag)} is {found}, which is not taken"
                continue
            if type(plain) is str and type(rule) in _PLAIN_RULES and _fits(rule, plain):
                continue
            value = image[tag].value
            values = tuple(value) if isinstance(value, MultiValue) else (value,)
            if not any(_fits(rule, each) for each in values):
                return f"{_keyword(tag)} is {_shown(values)}, not {_described(rule)}"
        return None

    # -- what the images that are here already say ----------------------------------------------------------

    def conflict(self, image: Dataset) -> str | None:
        """Say why an image cannot join those that are here already, or ``None`` when it can."""
        first = next(iter(self), None)
        if first is None:
            return None
        if self._first[0] is not first:
            self._first = first, _study_and_series(first)
        theirs, own = self._first[1], _study_and_series(image)
        if own == theirs:
            return None
        if not self.several_studies and own[0] != theirs[0]:
            what = "study"
        elif not self.several_series and own[1] != theirs[1]:
            what = "series"
        else:
            return None
        return f"another {what} of this patient is waiting here, and this input takes one {what}"

    def _missing_copy(self, image: Dataset) -> str | None:
        absent = [_keyword(tag) for tag in self.copied_tags if tag not in image]
        return f"{', '.join(absent)} is missing, which the result's header copies" if absent else None

    # -- completeness -------------------------------------------------------------------------------------

    def _too_few(self) -> str | None:
        expected = self.expected_images
        if isinstance(expected, str):
            value = next(iter(self)).get(expected)
            try:
                expected = int(value)
            except (TypeError, ValueError):
                return f"{expected} does not say how many images there are"
        if expected is None or len(self) >= expected:
            return None
        return f"{len(self)} of {expected} images" + (f", {gap}" if (gap := self._gap()) else "")

    def _gap(self) -> str | None:
        if not self.complete_volume:
            return None
        return "; ".join(problem.brief for problem in sort_by_geometry(self).problems) or None


def _plain(image: Dataset, tags: tuple[int, ...]) -> Sequence[Any]:
    """Return what an image's index says of tags, None where the dataset must be asked."""
    return image.indexed_values(tags) if isinstance(image, LazyDataset) else (None,) * len(tags)


def _study_and_series(image: Dataset) -> tuple[Any, Any]:
    study, series = _plain(image, _UIDS)
    return (
        image.get("StudyInstanceUID") if study is None else study,
        image.get("SeriesInstanceUID") if series is None else series,
    )


def _forbidden(image: Dataset, tag: int, rule: Not) -> str | None:
    """Return the value of an attribute that a rule forbids, ``None`` where it has no such value."""
    element = image.get(tag)
    if element is None or element.value is None:
        return None
    value = element.value
    values = tuple(value) if isinstance(value, MultiValue) else (value,)
    return next((str(each) for each in values for one in rule.rules if _fits(one, each)), None)


def _keyword(tag: str | int) -> str:
    return keyword_for_tag(Tag(tag)) or str(Tag(tag))


def _fits(rule: Rule, value: Any) -> bool:
    if isinstance(rule, re.Pattern):
        return rule.match(str(value)) is not None
    if callable(rule):
        return bool(rule(value))
    if isinstance(rule, Collection) and not isinstance(rule, str):
        return value in rule
    return bool(value == rule)


def _described(rule: Rule) -> str:
    if isinstance(rule, re.Pattern):
        return f"matching {rule.pattern!r}"
    if callable(rule):
        return f"what {getattr(rule, '__name__', rule)} accepts"
    if isinstance(rule, Collection) and not isinstance(rule, str):
        return " or ".join(sorted(str(each) for each in rule))
    return str(rule)


def _shown(values: tuple[Any, ...]) -> str:
    return "\\".join(str(value) for value in values) or "empty"
