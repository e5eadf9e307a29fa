"""De-identifying one data set: every attribute at every level, by the profile (PS3.15 section E.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import ImplicitVRLittleEndian

from dicomnode import IdentityMapping, iod_of
from dicomnode_anonymize import graphics, pixels, record, structured
from dicomnode_anonymize.elements import UNKNOWN, holds_items, keyword_of, vr_of
from dicomnode_anonymize.errors import AnonymizeError
from dicomnode_anonymize.options import Option, checked_options
from dicomnode_anonymize.pixels import Policy
from dicomnode_anonymize.private import known_safe, parsed_tags, safe_tags
from dicomnode_anonymize.profile import Action, Profile, resolved
from dicomnode_anonymize.replacements import Replacements
from dicomnode_anonymize.subject import subject_of
from dicomnode_anonymize.words import Vocabulary

_DIRECTORY = "1.2.840.10008.1.3.10"
_SWEPT = "X/Z/D"
"""What becomes of text that holds the patient's own name or number where the profile expects none."""

Types = Mapping[str, Any] | None
"""The attributes of the IOD at one level by keyword; ``None`` where they are not known."""


@dataclass(frozen=True)
class _Level:
    """One level of a data set while it is walked."""

    types: Types
    is_root: bool = False

    def type_of(self, keyword: str) -> str | None:
        """Return the Type of an attribute here, as :func:`~dicomnode_anonymize.profile.resolved` takes it."""
        if self.types is None:
            return None
        attribute = self.types.get(keyword)
        if attribute is not None:
            return str(attribute.type)
        # The tables have every attribute of the root, but in items only what is always asked for.
        return "3" if self.is_root else None

    def below(self, keyword: str) -> _Level:
        """Return the level of a sequence's items."""
        attribute = None if self.types is None else self.types.get(keyword)
        return _Level(None if attribute is None else attribute.items)


class Anonymizer:
    """De-identifies data sets by the Basic Application Level Confidentiality Profile and its options.

    Parameters
    ----------
    mapping : IdentityMapping
        Where pseudonyms, new UIDs and the days by which dates move come from.
    options : iterable of Option or str
        Options of the profile (PS3.15 section E.3).
    vocabulary : iterable of str
        Words that may stay in descriptions besides those that are known (``clean-descriptors``).
    safe_private : iterable of str
        Private attributes that may stay besides those that are known (``retain-safe-private``), written as
        in ``(0019,"SIEMENS MR HEADER",0c)``.
    burned_in, visual_features : {"refuse", "flag"}
        What becomes of images whose pixels may hold text about the patient, or show a face: refused, or
        marked in DeidentificationMethod.

    Raises
    ------
    AnonymizeError
        When an option or a private attribute is not one.

    Examples
    --------
    >>> from dicomnode import IdentityMapping
    >>> anonymizer = Anonymizer(IdentityMapping(b"a secret of 16 bytes"), ["retain-patient-characteristics"])
    >>> anonymizer.anonymize(image).PatientIdentityRemoved  # doctest: +SKIP
    'YES'
    """

    def __init__(
        self,
        mapping: IdentityMapping,
        options: Iterable[str] = (),
        *,
        vocabulary: Iterable[str] = (),
        safe_private: Iterable[str] = (),
        burned_in: Policy = "refuse",
        visual_features: Policy = "flag",
    ) -> None:
        self.options = checked_options(options)
        self._mapping = mapping
        self._policies: dict[str, Policy] = {"burned_in": burned_in, "visual_features": visual_features}
        self._profile = Profile(self.options)
        self._safe = known_safe() | parsed_tags(safe_private)
        self._vocabulary = Vocabulary(vocabulary) if self._cleans else None

    @property
    def _cleans(self) -> bool:
        return any(option.value.startswith("clean-") for option in self.options) or (
            Option.RETAIN_PATIENT_CHARACTERISTICS in self.options
        )

    def anonymize(self, dataset: Dataset) -> Dataset:
        """De-identify a data set in place.

        Pixel Data stays as it is, compressed or not, and is not even read from a
        :class:`~dicomnode.LazyDataset`. The file meta information (PS3.10 section 7.1) is made anew.

        Parameters
        ----------
        dataset : Dataset
            An instance as read. It is changed.

        Returns
        -------
        Dataset
            The same object.

        Raises
        ------
        AnonymizeError
            When it is no instance, is a directory of files, or its pixels may identify somebody and such
            images are refused. Then it is unchanged.
        """
        sop_class = str(dataset.get("SOPClassUID") or "").strip(" \0")
        if sop_class == _DIRECTORY or "DirectoryRecordSequence" in dataset:
            msg = "a DICOMDIR is a list of files, not an instance; make a new one for the new files"
            raise AnonymizeError(msg)
        if not sop_class or not str(dataset.get("SOPInstanceUID") or "").strip(" \0"):
            msg = "it has no SOP Class UID or no SOP Instance UID, so it is no instance"
            raise AnonymizeError(msg)
        if reason := pixels.refusal(dataset, **self._policies):
            raise AnonymizeError(reason)
        marks = pixels.marks(dataset)
        subject = subject_of(dataset, self._mapping, words=self._cleans)
        iod = iod_of(sop_class)
        walk = _Walk(self._profile, self._safe, Replacements(self._mapping, subject, self._vocabulary))
        walk.dataset(dataset, _Level(None if iod is None else iod.attributes, is_root=True))
        record.note(dataset, self.options, marks)
        if isinstance(dataset, FileDataset):
            dataset.preamble = b"\0" * 128
        dataset.file_meta = record.file_meta(dataset)
        _decode_what_is_encoded_otherwise(dataset)
        return dataset


class _Walk:
    """One data set's way through the profile."""

    def __init__(self, profile: Profile, safe: frozenset[Any], replace: Replacements) -> None:
        self._profile = profile
        self._safe = safe
        self._replace = replace
        self._items: dict[int, tuple[Dataset, bool]] = {}
        self._actions: dict[Action, Callable[[Dataset, BaseTag, str, _Level], None]] = {
            Action.REMOVE: lambda dataset, tag, _vr, _level: dataset.__delitem__(tag),
            Action.ZERO: self._zero,
            Action.DUMMY: self._dummy,
            Action.KEEP: self._keep,
            Action.CLEAN: self._clean,
            Action.UID: self._uid,
        }

    def dataset(self, dataset: Dataset, level: _Level, done: frozenset[str] = frozenset()) -> None:
        """De-identify a data set or an item, and all that is in it but what is done already."""
        options = self._profile.options
        safe = safe_tags(dataset, self._safe) if Option.RETAIN_SAFE_PRIVATE in options else set()
        graphics.drop(dataset, keep_regions=Option.CLEAN_GRAPHICS in options)
        for tag in list(dataset.keys()):
            if tag.is_private:
                self._private(dataset, tag, safe)
            elif tag.element == 0 or vr_of(dataset, tag) == UNKNOWN:
                # Group lengths are retired (PS3.5 section 7.2); what the dictionary does not know may be
                # anything.
                del dataset[tag]
            elif keyword_of(int(tag)) not in done:
                self._element(dataset, tag, level)

    def _private(self, dataset: Dataset, tag: BaseTag, safe: set[BaseTag]) -> None:
        if tag not in safe:
            del dataset[tag]
        elif holds_items(dataset, tag):
            self._keep(dataset, tag, "SQ", _Level(None))
        elif (action := self._profile.action(int(tag), "", vr_of(dataset, tag), None)) is not None:
            self._actions[action](dataset, tag, vr_of(dataset, tag), _Level(None))

    def _element(self, dataset: Dataset, tag: BaseTag, level: _Level) -> None:
        keyword, vr = keyword_of(int(tag)), vr_of(dataset, tag)
        attribute_type = level.type_of(keyword)
        action = self._profile.action(int(tag), keyword, vr, attribute_type)
        if action is None and self._replace.names_the_patient(dataset, tag, vr):
            action = resolved(_SWEPT, attribute_type)
        if action is None:
            if holds_items(dataset, tag):
                self._keep(dataset, tag, vr, level)
        elif action is Action.REMOVE or not _is_empty(dataset, tag):
            self._actions[action](dataset, tag, vr, level)

    # -- the actions ----------------------------------------------------------------------------------------

    def _zero(self, dataset: Dataset, tag: BaseTag, vr: str, level: _Level) -> None:  # noqa: ARG002 - one form
        element = dataset[tag]
        if pseudonym := self._replace.pseudonym(dataset, tag):
            element.value = pseudonym
        else:
            element.clear()

    def _dummy(self, dataset: Dataset, tag: BaseTag, vr: str, level: _Level) -> None:
        if keyword_of(int(tag)) == "ContentSequence":
            dataset[tag].value = Sequence([structured.dummy_item()])
        elif holds_items(dataset, tag):
            for item in dataset[tag].value:
                self._scrub(item, level.below(keyword_of(int(tag))))
        else:
            is_descriptor = self._profile.is_descriptor(int(tag))
            dataset[tag].value = self._replace.dummy(dataset, tag, vr, is_descriptor=is_descriptor)

    def _keep(self, dataset: Dataset, tag: BaseTag, vr: str, level: _Level) -> None:  # noqa: ARG002 - one form
        if not holds_items(dataset, tag):
            return
        below = level.below(keyword_of(int(tag)))
        kept = [item for item in dataset[tag].value if self._keeps_item(item, below)]
        if len(kept) < len(dataset[tag].value):
            dataset[tag].value = Sequence(kept)

    def _keeps_item(self, item: Dataset, level: _Level) -> bool:
        """De-identify an item, once wherever it is used, and say whether it stays."""
        if id(item) not in self._items:
            # The item is held as well: the id of one that is gone could become another's.
            self._items[id(item)] = item, self._was_kept(item, level)
        return self._items[id(item)][1]

    def _was_kept(self, item: Dataset, level: _Level) -> bool:
        if Option.CLEAN_STRUCTURED_CONTENT not in self._profile.options or not structured.is_content_item(
            item
        ):
            self.dataset(item, level)
            return True
        done = structured.clean(item, self._profile, self._replace)
        if done is not None:
            self.dataset(item, level, done)
        return done is not None

    def _clean(self, dataset: Dataset, tag: BaseTag, vr: str, level: _Level) -> None:
        if holds_items(dataset, tag):
            self._keep(dataset, tag, vr, level)
            return
        cleaned = self._replace.cleaned(dataset, tag, vr)
        if cleaned:
            dataset[tag].value = cleaned
            return
        # Nothing could be kept of it: then it is treated as without the option.
        keyword = keyword_of(int(tag))
        basic = self._profile.basic(int(tag), keyword, vr, level.type_of(keyword)) or Action.REMOVE
        self._actions[basic](dataset, tag, vr, level)

    def _uid(self, dataset: Dataset, tag: BaseTag, vr: str, level: _Level) -> None:
        if vr == "UI":
            dataset[tag].value = self._replace.uids(dataset[tag].value)
        else:
            self._keep(dataset, tag, vr, level)

    def _scrub(self, item: Dataset, level: _Level) -> None:
        """Leave nothing of an item but its form: every value becomes a dummy, coded strings stay."""
        for tag in list(item.keys()):
            vr = vr_of(item, tag)
            if tag.is_private or vr == UNKNOWN:
                del item[tag]
            elif vr != "CS" and not _is_empty(item, tag):
                self._dummy(item, tag, vr, level)


def _decode_what_is_encoded_otherwise(dataset: Dataset) -> None:
    """Decode every element of a file that is in implicit VR although its transfer syntax is explicit.

    pydicom reads such files, but cannot write the elements that nobody has looked at.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == ImplicitVRLittleEndian:
        return
    elements = (dataset.get_item(tag) for tag in list(dataset.keys()))
    if any(element is not None and element.VR is None for element in elements):
        for _ in dataset.iterall():
            pass


def _is_empty(dataset: Dataset, tag: BaseTag) -> bool:
    element = dataset.get_item(tag)
    return element is None or (not element.value and element.value != 0)
