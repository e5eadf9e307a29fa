"""Links between the pages, and from the README into them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*/*.md"),
        *ROOT.glob("news/README.md"),
        *ROOT.glob("plugins/*/*.md"),
    ]
)
GLOSSARY = ROOT / "docs" / "reference" / "glossary.md"


def prose(page: Path) -> str:
    """Return a page without its code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def targets(page: Path) -> list[str]:
    """Return where the links of a page lead: ``[text](target)``, and ``[label]: target``."""
    text = prose(page)
    return [
        *re.findall(r"\]\(([^)\s]+)", text),
        *re.findall(r"^\[[^\]]+\]: (\S+)$", text, flags=re.MULTILINE),
    ]


@cache
def anchors(page: Path) -> set[str]:
    """Return the places of a page that a link can name: its headings, and ``<a id>``."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    made = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the repository leads to one that is there, and to a heading that it has."""
    for target in targets(page):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name) if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_labels_are_defined_and_used(page: Path) -> None:
    """A ``[text][label]`` has its ``[label]: target``, and a target is of use to some text of the page."""
    text = prose(page)
    defined = {label.lower() for label in re.findall(r"^\[([^\]]+)\]: \S+$", text, flags=re.MULTILINE)}
    body = re.sub(r"^\[[^\]]+\]: \S+$", "", text, flags=re.MULTILINE)
    named = {" ".join(label.lower().split()) for label in re.findall(r"\[[^\]]+\]\[([^\]]+)\]", body)}
    alone = {" ".join(label.lower().split()) for label in re.findall(r"\[([^\]]+)\](?![\[(])", body)}
    assert not named - defined
    assert not defined - named - alone


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "docs" in page.parts and page != GLOSSARY],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_page_leads_to_the_glossary(page: Path) -> None:
    """The words of a page are explained one click away."""
    assert any((page.parent / target.partition("#")[0]).resolve() == GLOSSARY for target in targets(page))


def test_the_glossary_is_in_order() -> None:
    """A row for each term, by the alphabet, each with a place of its own and a meaning of one line."""
    rows = re.findall(
        r'^\| <a id="([a-z0-9-]+)"></a>([^|]+) \| ([^|]+) \|([^|]*)\|$', GLOSSARY.read_text(), re.M
    )
    assert len(rows) == len({place for place, *_ in rows}) == GLOSSARY.read_text().count("<a id=")
    terms = [term for _place, term, *_ in rows]
    assert terms == sorted(terms, key=str.lower)
    assert all(meaning.endswith(".") for _place, _term, meaning, _standard in rows)
    assert all(re.fullmatch(r" | PS3\.\d+.* ", standard) for *_, standard in rows)
