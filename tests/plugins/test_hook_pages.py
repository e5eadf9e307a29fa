"""Each hook has a page in the documentation: its exact signature, its kind, and an example that runs."""

import inspect
import re
from pathlib import Path

import pytest

from dicomnode.plugins import hookspecs
from dicomnode.plugins.hookspecs import INTERVENTIONS, NOTIFICATIONS, WRAPPABLE

FOLDER = Path(__file__).parents[2] / "docs" / "reference" / "hooks"
HOOKS = sorted(INTERVENTIONS | NOTIFICATIONS)


def signature(name):
    """Return the signature of a hook as its source has it, on one line without spaces after the brackets."""
    found = inspect.signature(getattr(hookspecs, name))
    parameters = ", ".join(f"{each.name}: {each.annotation}" for each in found.parameters.values())
    return f"def {name}({parameters}) -> {found.return_annotation}"


def blocks(page, language):
    """Return the code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.fixture(params=HOOKS)
def hook(request):
    return request.param


@pytest.fixture
def page(hook):
    return (FOLDER / f"{hook}.md").read_text()


def test_there_is_a_page_for_each_hook_and_no_other():
    """A hook that is added or renamed needs its page, and the index its row."""
    assert sorted(path.stem for path in FOLDER.glob("dicomnode_*.md")) == HOOKS
    index = (FOLDER / "README.md").read_text()
    assert sorted(re.findall(r"^\| \[(dicomnode_\w+)\]\(\1\.md\) ", index, re.MULTILINE)) == HOOKS


def test_the_page_has_the_exact_signature(hook, page):
    """However it is broken into lines."""
    (shown,) = blocks(page, "pyi")
    assert " ".join(shown.split()).replace("( ", "(").replace(", )", ")") == signature(hook)


def test_the_page_says_what_kind_of_hook_it_is(hook, page):
    """Intervention or notification, and whether it may be wrapped."""
    kind = "intervention" if hook in INTERVENTIONS else "notification"
    assert f"| kind | {kind}" in page
    assert f"| may be wrapped | {'yes' if hook in WRAPPABLE else 'no'}" in page


def test_the_example_of_the_page_runs_and_implements_the_hook(hook, page):
    """As it stands there."""
    (example,) = blocks(page, "python")
    assert f"def {hook}(" in example
    assert "assert" in example
    exec(compile(example, f"{hook}.md", "exec"), {"__name__": hook})
