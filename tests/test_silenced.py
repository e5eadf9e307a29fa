"""What is silenced says why: each ``noqa`` and ``type: ignore`` names its rule and its reason."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "core", "examples", "plugins", "tests", "tools")

SILENCER = re.compile(r"#\s*(noqa|type:\s*ignore)")
NOQA = re.compile(r"# noqa: [A-Z]+\d+(, [A-Z]+\d+)* - \S.*")
IGNORE = re.compile(r"# type: ignore\[[a-z-]+(, [a-z-]+)*\]  # \S.*")


def without_reason(source: str) -> Iterator[str]:
    """Yield the comments that silence a tool without saying why."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and (found := SILENCER.search(token.string)):
            comment = token.string[found.start() :]
            if not NOQA.fullmatch(comment) and not IGNORE.fullmatch(comment):
                yield f"line {token.start[0]}: {comment}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_silenced_rule_has_its_reason(folder: str) -> None:
    """``# noqa: RULE - reason`` and ``# type: ignore[rule]  # reason``, in every file that we write."""
    files = [
        path
        for path in (ROOT / folder).rglob("*.py*")
        if path.suffix in {".py", ".pyi"} and not {".venv", "build"} & set(path.parts)
    ]
    assert files
    found = {str(path): list(without_reason(path.read_text(encoding="utf-8"))) for path in files}
    assert not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa",
        "# noqa: S603",
        "# noqa: S603 our own interpreter",
        "# noqa: S603 -",
        "# type: ignore  # wrong on purpose",
        "# type: ignore[misc]",
        "# type: ignore[misc] # wrong on purpose",
        "# said before  # noqa: S603",
    ],
)
def test_a_comment_without_rule_or_reason_is_found(comment: str) -> None:
    """Each form that lacks the rule, the reason or the sign between them is found."""
    assert list(without_reason(f"value = 1  {comment}\n"))


@pytest.mark.parametrize(
    "comment",
    ["# noqa: S603, S607 - a tool of the JDK", "# type: ignore[misc, no-any-return]  # wrong on purpose"],
)
def test_a_comment_with_rules_and_reason_is_good(comment: str) -> None:
    """Several rules may share a reason; a text that only looks like a comment is no comment."""
    assert not list(without_reason(f"value = '# noqa'  {comment}\n"))
