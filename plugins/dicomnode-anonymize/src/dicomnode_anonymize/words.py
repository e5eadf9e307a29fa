"""Texts made of known words only (PS3.15 section E.3.5, Clean Descriptors).

A description such as ``"T1 AX POST CONTRAST, Dr. Miller, 12.03.2024"`` is worth keeping but may hold
anything. No list of names is ever complete, so it is done the other way round: a word stays when it is known
to be a word of imaging, and everything else goes. Known are the words of the data dictionary (PS3.6), of the
anatomic regions (PS3.16 CID 4), the abbreviations below and those that a site adds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import PersonName

from dicomnode_anonymize.elements import vr_of

_ABBREVIATIONS = """
2d 3d 4d abd abdo abdomen adc ap asl ax axi axial b b0 bh bilat bilateral bold bone brain breath c cbct cbf
cbv ce cervical chest coil contrast cor coronal corr cspine ct cta ctp ctv delayed dce diff diffusion dir
dixon dose dsc dti dual dwi dx early echo ecg energy epi fa fat fdg fiesta fl flair flash fmri fs fse fov free
ga gd gre gtv haste hd head hr hrct in inphase ir isotropic iv kernel l la lat late left low ls lspine lumbar
lung m map mask mdct medium mip mm mpr mprage mr mra mri mrv ms neck nm no non oblique oral opp oph orbit out
outphase pa pc pd pelvis perf perfusion pet petct phase plain portal post pre ptv qc r rec recon resting rl rt
s sag sagittal scan scout se seg sense series short sl slab soft space spin spine spiral standard stir std sub
survey suv swi t t1 t2 t1w t2w tfe th thin thorax thoracic tof topo topogram tr tra trans transversal
transverse tse tspine us vibe venous vol w wb whole with without wo x xa xr ac nac fbp osem ge psf kv kvp ma
mas hu kg cm sec min hz bpm mgy gy mci mbq
""".split()  # noqa: SIM905 - a list of two hundred strings would fill three pages

_WORD = re.compile(r"[^\W_]+(?:\.\d+)?", re.UNICODE)
_WITHOUT = re.compile(r"\bw/o\b", re.IGNORECASE)
_LIKE_A_DATE = re.compile(r"\d+([-./:])\d+\1\d+\S*")
_PARTS = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+", re.UNICODE)
_LONGEST_NUMBER = 3
_LONGEST_B_VALUE = 5
_SHORTEST_NAME = 2
_SHORTEST_SOUGHT = 4

_IDENTIFIERS = (
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "StudyID",
    "AdmissionID",
    "IssuerOfPatientID",
)
_PLACES = (
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "PatientAddress",
)


@cache
def known_words() -> frozenset[str]:
    """Return the words that may stay, in lower case."""
    names = " ".join(entry[2] for entry in DicomDictionary.values())
    anatomy = " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) for name in codes.cid4.dir())
    words = re.findall(r"[a-z]{2,}", f"{names} {anatomy}".lower())
    return frozenset(words) | frozenset(_ABBREVIATIONS)


def identifying_words(dataset: Dataset) -> frozenset[str]:
    """Return the words, in lower case, that a data set itself says are somebody's or some place's.

    Parameters
    ----------
    dataset : Dataset
        A data set as read.
    """
    texts = [text for value in _identifying_values(dataset) for text in _texts(value)]
    words = re.findall(r"[^\W_]+", " ".join(texts).lower())
    return frozenset(word for word in words if len(word) >= _SHORTEST_NAME)


def sought_identifiers(dataset: Dataset) -> re.Pattern[str] | None:
    """Return what finds the patient's own name and numbers in other attributes' text, ``None`` without any.

    Parameters
    ----------
    dataset : Dataset
        A data set as read.
    """
    texts: set[str] = set()
    for keyword in ("PatientName", "OtherPatientNames", "PatientBirthName"):
        for text in _texts(dataset.get(keyword)):
            texts.update(re.findall(r"[^\W\d_]+", text))
    for keyword in ("PatientID", "OtherPatientIDs", "AccessionNumber"):
        texts.update(_texts(dataset.get(keyword)))
    sought = sorted({text.strip() for text in texts if len(text.strip()) >= _SHORTEST_SOUGHT}, reverse=True)
    if not sought:
        return None
    either = "|".join(map(re.escape, sought))
    return re.compile(rf"(?<![^\W_])(?:{either})(?![^\W_])", re.IGNORECASE)


class Vocabulary:
    """The words that may stay in descriptions.

    Parameters
    ----------
    more : iterable of str
        What a site adds, such as the names of its protocols.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        self._words = known_words() | {word.strip().lower() for word in more if word.strip()}

    def cleaned(self, text: str, identifying: frozenset[str] = frozenset()) -> str:
        """Return what is known of a text.

        Parameters
        ----------
        text : str
            The text.
        identifying : frozenset of str
            Words that must go although they are known, as :func:`identifying_words` returns them.

        Returns
        -------
        str
            The known words and short numbers, with single spaces between them.
        """
        tokens = _WORD.findall(_LIKE_A_DATE.sub(" ", _WITHOUT.sub("wo", text)))
        return " ".join(token for token in tokens if self._is_known(token, identifying))

    def _is_known(self, token: str, identifying: frozenset[str]) -> bool:
        word = token.lower()
        if word in identifying:
            return False
        if word in self._words:
            return True
        parts = _PARTS.findall(word)
        numbers = [part for part in parts if part[0].isdigit()]
        letters = [part for part in parts if not part[0].isdigit()]
        longest = _LONGEST_B_VALUE if letters == ["b"] else _LONGEST_NUMBER
        return all(part in self._words and part not in identifying for part in letters) and all(
            len(number.partition(".")[0]) <= longest for number in numbers
        )


def _identifying_values(dataset: Dataset) -> Iterator[object]:
    for tag in list(dataset.keys()):  # iterating the data set itself would decode every element
        if not tag.is_private and vr_of(dataset, tag) == "PN":
            yield dataset[tag].value
    for keyword in (*_IDENTIFIERS, *_PLACES):
        yield dataset.get(keyword)


def _texts(value: object) -> list[str]:
    if value is None or value == "":
        return []
    if isinstance(value, str | PersonName):
        return [str(value)]
    if isinstance(value, Iterable):
        return [text for each in value for text in _texts(each)]
    return [str(value)]
