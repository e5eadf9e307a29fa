"""What stays and what varies among data sets of one layout."""

from __future__ import annotations

from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.host.parsing.index_template import IndexTemplateCache, WantedValue

CLASS = "1.2.840.1"
ENCODINGS = ("iso8859",)
# A made-up layout: header, UID (6), header, number (4), header, name (4), header, study (4), the end.
GAPS = ((2, 8), (10, 14), (16, 20), (22, 26))
UID, NUMBER, NAME, STUDY = 0x00080018, 0x00200013, 0x00100010, 0x0020000D
WANTED = [
    WantedValue(UID, "UI", 2, 8), WantedValue(NUMBER, "IS", 10, 14), WantedValue(NAME, "LO", 16, 20),
    WantedValue(STUDY, "UI", 22, 26),
]  # fmt: skip


def data(uid: str, number: int, name: str = "Smit", study: str = "7.77", header: bytes = b"h1") -> bytes:
    values = (uid, f"{number:4d}", name, study)
    headers = (header, b"h2", b"h3", b"h4")
    return (
        b"".join(b"%b%b" % (one, other.encode()) for one, other in zip(headers, values, strict=True))
        + b"pixels"
    )


def index(uid: str, number: int, name: str = "Smit", study: str = "7.77") -> dict[int, IndexedValue]:
    return {UID: uid, NUMBER: number, NAME: name, STUDY: study, 0x00280030: [1.0, 2.0]}


def cache() -> IndexTemplateCache:
    return IndexTemplateCache(GAPS, 26, WANTED, frozenset({STUDY}))


def learn(templates: IndexTemplateCache, uid: str, number: int, **values: str) -> None:
    found = data(uid, number, **values)
    templates.learn(found, index(uid, number, **values), CLASS, ENCODINGS, little_endian=True)


def taught() -> IndexTemplateCache:
    """Return a cache that has seen two slices, which differ in UID and number."""
    templates = cache()
    learn(templates, "1.2.01", 1)
    learn(templates, "1.2.02", 2)
    return templates


def test_nothing_is_recalled_of_a_first_one() -> None:
    """What varies is known once there are two."""
    templates = cache()
    assert templates.recall(data("1.2.01", 1), (CLASS, "1.2.01")) is None
    learn(templates, "1.2.01", 1)
    assert templates.recall(data("1.2.02", 2), (CLASS, "1.2.02")) is None


def test_what_varies_is_decoded_and_the_rest_is_known() -> None:
    """A third slice has its own UID and number, and the others' name and study."""
    templates = taught()
    assert templates.recall(data("1.2.03", 17), (CLASS, "1.2.03")) == index("1.2.03", 17)


def test_what_has_changed_besides_is_not_recalled() -> None:
    """A header or a value that stayed so far: the data set is looked at as a whole."""
    templates = taught()
    for other in (data("1.2.03", 3, name="Jone"), data("1.2.03", 3, header=b"hX")):
        assert templates.recall(other, (CLASS, "1.2.03")) is None


def test_the_request_must_name_what_is_there() -> None:
    """Another instance or class than the data set's is for the checks to refuse."""
    templates = taught()
    assert templates.recall(data("1.2.03", 3), (CLASS, "1.2.04")) is None
    assert templates.recall(data("1.2.03", 3), ("1.2.840.2", "1.2.03")) is None


def test_one_more_value_may_vary() -> None:
    """After it has been seen to change once, it is decoded like the others."""
    templates = taught()
    learn(templates, "1.2.03", 3, name="Jone")
    expected = index("1.2.04", 4, "Mill")
    assert templates.recall(data("1.2.04", 4, name="Mill"), (CLASS, "1.2.04")) == expected


def test_what_the_checks_look_at_never_varies() -> None:
    """A change of it is looked at anew each time."""
    templates = taught()
    learn(templates, "1.2.03", 3, study="8.88")
    assert templates.recall(data("1.2.04", 4, study="9.99"), (CLASS, "1.2.04")) is None
    assert templates.recall(data("1.2.04", 4, study="8.88"), (CLASS, "1.2.04")) is not None


def test_an_index_is_a_copy() -> None:
    """Neither the one that was learnt from nor one that was recalled is shared."""
    templates = cache()
    learn(templates, "1.2.01", 1)
    learnt = index("1.2.02", 2)
    templates.learn(data("1.2.02", 2), learnt, CLASS, ENCODINGS, little_endian=True)
    learnt[0x00280030].append(3.0)  # type: ignore[union-attr]  # a list
    for _ in range(2):
        found = templates.recall(data("1.2.03", 3), (CLASS, "1.2.03"))
        assert found is not None
        assert found[0x00280030] == [1.0, 2.0]
        found[0x00280030].append(4.0)  # type: ignore[union-attr]  # as above


def test_what_never_stays_is_given_up() -> None:
    """Learning that nothing comes of ends after a bounded number of times; recalling makes up for it."""
    templates = cache()
    for number in range(20):
        learn(templates, f"1.2.{number:02d}", number, study=f"{number:4d}")
    assert templates.template is None
    templates = taught()
    for number in range(100):
        uid = f"1.2.{number:02d}"
        assert templates.recall(data(uid, number), (CLASS, uid)) is not None
        if number % 10 == 0:
            learn(templates, uid, number)
    assert templates.template is not None
