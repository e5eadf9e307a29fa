"""Names and texts that came from the network."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom.values.safe import safe_name, safe_text

ANY_TEXT = st.text() | st.text(alphabet="./\\~-_ aA0\0\n\x1b:", max_size=80)


@given(ANY_TEXT)
def test_a_name_is_one_harmless_component(text: str) -> None:
    """Any text at all becomes one short component that is no parent, hidden file, option or device."""
    name = safe_name(text)
    assert re.fullmatch(r"[A-Za-z0-9_~][A-Za-z0-9._~-]{0,63}", name)
    assert not name.endswith(".")
    assert name.split(".")[0].lower() not in {"con", "nul", "prn", "aux", "com1", "lpt9"}


@given(st.lists(ANY_TEXT, unique=True, min_size=2, max_size=20))
def test_two_texts_never_share_a_name(texts: list[str]) -> None:
    """Different texts have different names, the empty one included."""
    assert len({safe_name(text, empty="~") for text in texts}) == len(texts)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}[A-Za-z0-9]", fullmatch=True))
def test_what_is_safe_stays(text: str) -> None:
    """A UID or a plain identifier keeps its name, unless it is a device's."""
    if not re.match(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)", text):
        assert safe_name(text) == text


@pytest.mark.parametrize(
    "text", ["../x", "x/y", ".x", "-x", "x.", "x y", "é", "CON", "nul.txt", "~", "_", "x" * 65, "a\0b"]
)
def test_what_is_altered_carries_a_digest(text: str) -> None:
    """An altered name ends in a digest of the whole text."""
    assert re.search(r"~[0-9a-f]{16}$", safe_name(text))


@given(st.text(max_size=50), st.text(max_size=50))
def test_text_is_printable_and_tells_texts_apart(one: str, other: str) -> None:
    """No control character is left, and two texts that are shown whole do not look the same."""
    assert safe_text(one).isprintable()
    assert (safe_text(one) == safe_text(other)) == (one == other)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\t", r"a\nb\r\t"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\u202egnp", r"\u202egnp"),
        ("\ud800", r"\ud800"),
        ("C:\\x", r"C:\\x"),
        ("Müller 山田", "Müller 山田"),
        (5, "5"),
    ],
)
def test_text_escapes_what_a_terminal_would_act_on(text: object, shown: str) -> None:
    """Line ends, escapes, bidirectional marks and surrogates are spelt out; letters of any script stay."""
    assert safe_text(text) == shown


def test_long_text_is_cut_and_says_so() -> None:
    """Text is capped, and its true length shown."""
    assert safe_text("x" * 10_000, longest=10) == "xxxxxxxxxx... (10000 characters)"
    assert len(safe_text("\n" * 10_000)) < 500
