"""Make core/dicomnode/dicom/data/iod_tables.json from the tables that highdicom carries.

highdicom (MIT) ships the IOD, module and attribute tables of DICOM PS3.3 as JSON, parsed from the standard's
own text. They are 22 MB, because every macro is written out wherever it is included. This keeps what a
blueprint is checked against and writes every nested set of attributes once. It also takes highdicom's table
of PS3.16 annex L, from BodyPartExamined to a code of the anatomic region.

Run it when highdicom has taken up a newer edition, and name that edition (highdicom's
``src/highdicom/_standard/README.md`` says it)::

    python tools/make_iod_tables.py --edition 2026b

Kept are: all attributes at the root of a dataset with their Type; within sequences the Type 1 and 2 ones.
Left out are the contents of the functional group sequences (which the factory writes) and the module
``sr-document-content``, whose table mixes the attributes of all value types and would demand each of them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import pkgutil
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "core" / "dicomnode" / "dicom" / "data" / "iod_tables.json"
FUNCTIONAL_GROUPS = {"SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"}
LEFT_OUT = {"sr-document-content"}
REQUIRED = {"1", "2"}

Tree = dict[str, "tuple[str, Tree]"]


def load(name: str) -> Any:
    """Read one of highdicom's tables."""
    data = pkgutil.get_data("highdicom", f"_standard/{name}.json")
    if data is None:
        raise SystemExit(f"highdicom carries no {name}.json")
    return json.loads(data)


def tree_of(attributes: list[dict[str, Any]]) -> Tree:
    """Turn highdicom's flat list with paths into a tree: keyword -> (type, attributes of the items)."""
    root: Tree = {}
    for attribute in attributes:
        keyword, path, kind = attribute["keyword"], attribute["path"], attribute["type"]
        if FUNCTIONAL_GROUPS & set(path) or kind in (None, "None"):
            continue
        level = root
        for step in path:
            level = level.setdefault(step, ("3", {}))[1]
        before = level.get(keyword)
        level[keyword] = (stricter(kind, before[0]) if before else kind, before[1] if before else {})
    return pruned(root, root=True)


def stricter(one: str, other: str) -> str:
    """Of two types of one attribute return the one that asks for more."""
    order = ("1", "1C", "2", "2C", "3")
    return min(one, other, key=order.index)


def pruned(tree: Tree, *, root: bool) -> Tree:
    """Drop nested attributes that nothing requires."""
    kept: Tree = {}
    for keyword, (kind, items) in sorted(tree.items()):
        below = pruned(items, root=False)
        if root or kind in REQUIRED:
            kept[keyword] = (kind, below)
    return kept


class Sets:
    """Sets of attributes, each written once and referred to by number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.sets: list[dict[str, Any]] = []

    def add(self, tree: Tree) -> int:
        """Return the number of a set."""
        packed = {k: [kind, self.add(items)] if items else kind for k, (kind, items) in tree.items()}
        text = json.dumps(packed, sort_keys=True)
        if text not in self.numbers:
            self.numbers[text] = len(self.sets)
            self.sets.append(packed)
        return self.numbers[text]


def tables(edition: str) -> dict[str, Any]:
    """Return what is shipped."""
    sets = Sets()
    modules = {
        key: sets.add(tree_of(attributes))
        for key, attributes in sorted(load("module_attribute_map").items())
        if key not in LEFT_OUT
    }
    return {
        "edition": f"DICOM PS3.3 {edition}",
        "source": f"highdicom {importlib.metadata.version('highdicom')} (MIT), by tools/make_iod_tables.py",
        "sop_classes": load("sop_class_iod_map"),
        "iods": {
            iod: {m["key"]: m["usage"] for m in uses if m["key"] in modules}
            for iod, uses in sorted(load("iod_module_map").items())
        },
        "body_parts": dict(sorted(load("anatomic_regions").items())),
        "modules": modules,
        "sets": sets.sets,
    }


def main() -> None:
    """Write the data file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--edition", required=True, help="the edition of the standard, such as 2026b")
    made = tables(parser.parse_args().edition)
    TARGET.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
