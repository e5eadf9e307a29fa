"""The named inputs of a pipeline: which images belong, and when they are complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from dicomnode.dicom.geometry.grinders import Grinder, ListGrinder
from dicomnode.dicom.geometry.slice_sorting import sort_by_geometry
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.reading.lazy_elements import are_texts
from dicomnode.dicom.reading.planes import PLANE_KEYWORDS
from dicomnode.dicom.tree.dicom_tree import SeriesTree
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

ExpectedImages = int | str | Callable[[Sequence[Dataset]], int]
"""How many images an input has: see :attr:`AbstractInput.expected_images`."""

PEER = "peer"
"""The value of :attr:`AbstractInput.expected_images` for which a peer is asked."""

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
        Whether a job may get images of more than one series here. Unless it is set, :meth:`choose_series` is
        asked where more than one has come.
    several_studies : bool
        The same for studies.
    expected_images : int, str or callable, optional
        How many images a series has, which proves that the input is whole and ends all waiting: a number; the
        keyword of the attribute that says it (``"ImagesInAcquisition"``, ``"NumberOfSlices"``,
        ``"NumberOfTemporalPositions"``); a function that is given the images of a series and returns the
        number; or ``"peer"``, for which the peer that sent the series is asked (C-FIND of Number of Series
        Related Instances (0020,1209)), ``"peer:NAME"`` for another one. Where :meth:`choose_series`
        chooses among the series of a study or patient, it proves nothing: another one may still come.
    complete_volume : bool
        Whether the images must form one volume without gaps (by position, not by number) to be complete. It
        cannot know of slices that are missing at either end of the volume, so it proves nothing: the
        container waits as it does without.

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
    expected_images: ClassVar[ExpectedImages | None] = None
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
        self.peer_counts: Mapping[str, int] = {}
        """Series Instance UID -> how many images a peer says that it has. Set by the host."""

    # -- what an author overrides -------------------------------------------------------------------------

    def validate_image(self, image: Dataset) -> CheckResult:  # noqa: ARG002 - the author's argument
        """Say whether an image that passed the rules belongs here.

        The answer is the image's alone: the input that is asked holds no images, and any process may ask, so
        that a sender gets the same answer in whatever order images come.

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

        Called when nothing more seems to come. The input holds the images that a job would get. It must not
        block. Override it to ask for more; call ``super().validate()`` to keep what is asked for here.

        Returns
        -------
        bool, str or None
            ``None`` or ``True``: complete. ``False`` or a text: not yet, and what is missing. The default
            asks for one image at least, unless the input is optional, for :attr:`expected_images`, and for a
            volume where :attr:`complete_volume` is set.
        """
        if not self:
            return None if self.optional else "no image yet"
        return self._other_count() or self._gap()

    def choose_series(self, candidates: Sequence[SeriesTree]) -> SeriesTree | str | None:  # noqa: ARG002 - for those who override it
        """Choose the series that a job gets, where more than one has come and the input takes one.

        Parameters
        ----------
        candidates : sequence of SeriesTree
            The series that fit the rules, in order of arrival.

        Returns
        -------
        SeriesTree, str or None
            One of them, or its Series Instance UID. ``None``, which is the default, starts nothing: the
            operator is told which series fit.
        """
        return None

    # -- what the host asks -------------------------------------------------------------------------------

    @classmethod
    def indexed_tags(cls) -> frozenset[BaseTag]:
        """Return the tags that the rules look at, which the receiver reads while an image arrives."""
        keyword = expected_keyword(cls.expected_images)
        counted = () if keyword is None else (keyword,)
        placed = PLANE_KEYWORDS if cls.complete_volume else ()
        return frozenset(Tag(tag) for tag in (*cls.required_tags, *cls.required_values, *counted, *placed))

    @classmethod
    def expectation(cls) -> int | str | None:
        """Return what says how many images a series has: :attr:`expected_images`, or ``"function"``."""
        return "function" if callable(cls.expected_images) else cls.expected_images

    @classmethod
    def chooses_series(cls) -> bool:
        """Say whether :meth:`choose_series` is the author's own."""
        return cls.choose_series is not AbstractInput.choose_series

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
            texts = _texts(plain, rule)
            if isinstance(rule, Not):
                if (found := _forbidden(_values(image, tag) if texts is None else texts, rule)) is not None:
                    return f"{_keyword(tag)} is {found}, which is not taken"
                continue
            if texts is not None and any(_fits(rule, each) for each in texts):
                continue
            values = _values(image, tag)
            if not any(_fits(rule, each) for each in values):
                return f"{_keyword(tag)} is {_shown(values)}, not {_described(rule)}"
        return None

    def _missing_copy(self, image: Dataset) -> str | None:
        absent = [_keyword(tag) for tag in self.copied_tags if tag not in image]
        return f"{', '.join(absent)} is missing, which the result's header copies" if absent else None

    # -- completeness -------------------------------------------------------------------------------------

    def proof(self) -> str:
        """Return what proves that the input is whole, in words; an empty text where nothing does."""
        if type(self).expected_images is None or not self:
            return ""
        counts = [self._counted(images) for images in by_series(self).values()]
        if any(expected is None or held != expected for held, expected, _ in counts):
            return ""
        return "; ".join(f"{held} of {expected} images ({source})" for held, expected, source in counts)

    def _counted(self, images: Sequence[Dataset]) -> tuple[int, int | None, str]:
        """Return how many images of a series are here, how many there are, and who says so."""
        # Asked of the class: a function that is an attribute of it is given the images alone.
        expected, held = type(self).expected_images, len(images)
        if isinstance(expected, int):
            return held, expected, "expected_images"
        if callable(expected):
            return held, int(expected(images)), "expected_images"
        if asks_peer(expected):
            count = self.peer_counts.get(str(images[0].SeriesInstanceUID))
            return held, count, "the peer"
        try:
            return held, int(images[0].get(str(expected))), str(expected)
        except (TypeError, ValueError):
            return held, None, str(expected)

    def _other_count(self) -> str | None:
        if type(self).expected_images is None:
            return None
        for images in by_series(self).values():
            held, expected, source = self._counted(images)
            if expected is None:
                return f"{source} does not say how many images there are"
            if held < expected:
                return f"{held} of {expected} images" + (f", {gap}" if (gap := self._gap()) else "")
            if held > expected:
                return f"{held} images, {expected} expected ({source})"
        return None

    def _gap(self) -> str | None:
        if not self.complete_volume:
            return None
        return "; ".join(problem.brief for problem in sort_by_geometry(self).problems) or None


def _plain(image: Dataset, tags: tuple[int, ...]) -> Sequence[Any]:
    """Return what an image's index says of tags, None where the dataset must be asked."""
    return image.indexed_values(tags) if isinstance(image, LazyDataset) else (None,) * len(tags)


def by_series(images: Iterable[Dataset]) -> dict[str, list[Dataset]]:
    """Return images by Series Instance UID, in order of arrival."""
    series: dict[str, list[Dataset]] = {}
    for image in images:
        series.setdefault(str(image.SeriesInstanceUID), []).append(image)
    return series


def asks_peer(expected: ExpectedImages | None) -> bool:
    """Say whether a peer is asked how many images there are."""
    return isinstance(expected, str) and expected.partition(":")[0] == PEER


def expected_keyword(expected: ExpectedImages | None) -> str | None:
    """Return the keyword of the attribute that says how many images there are, if one does."""
    return expected if isinstance(expected, str) and not asks_peer(expected) else None


def _texts(plain: Any, rule: Rule) -> tuple[str, ...] | None:
    """Return a value of the index as texts where a rule needs no element made of it, else None."""
    rules = rule.rules if isinstance(rule, Not) else (rule,)
    if not all(type(each) in _PLAIN_RULES for each in rules):
        return None
    if type(plain) is str:
        return (plain,)
    return plain if are_texts(plain) else None


def _values(image: Dataset, tag: int) -> tuple[Any, ...]:
    """Return the values of an attribute, none where it is missing or empty."""
    element = image.get(tag)
    value = None if element is None else element.value
    if value is None:
        return ()
    return tuple(value) if isinstance(value, MultiValue) else (value,)


def _forbidden(values: tuple[Any, ...], rule: Not) -> str | None:
    """Return the value that a rule forbids, ``None`` where it forbids none."""
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
