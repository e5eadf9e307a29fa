"""The plugin is made of what any plugin author may use."""

from __future__ import annotations

import ast
from pathlib import Path

import dicomnode_anonymize

import dicomnode


def test_only_the_public_face_is_imported() -> None:
    """Every import of the host is ``from dicomnode import name``, and the name is exported."""
    found = set()
    for path in Path(dicomnode_anonymize.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("dicomnode.") for alias in node.names), path
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                assert not node.module.startswith("dicomnode."), path
                if node.module == "dicomnode":
                    found |= {alias.name for alias in node.names}
    assert found
    assert found <= set(dicomnode.__all__)
