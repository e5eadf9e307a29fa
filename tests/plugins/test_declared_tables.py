"""The tables of a declared pipeline: plain data, short forms, and blueprint files."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dicomnode.plugins.declared_tables import DeclaredPipeline, read_blueprint_files


def test_a_name_alone_stands_for_a_table() -> None:
    """An input, a grinder, a blueprint and an output may be named where nothing else is said."""
    short = DeclaredPipeline.model_validate(
        {"inputs": {"ct": "site-ct"}, "blueprint": "ct", "outputs": ["dicom"]}
    )
    long = DeclaredPipeline.model_validate(
        {
            "inputs": {"ct": {"input": "site-ct"}},
            "blueprint": {"base": "ct"},
            "outputs": [{"output": "dicom"}],
        }
    )
    assert short == long
    grinder = DeclaredPipeline.model_validate({"inputs": {"ct": {"grinder": "list"}}})
    assert grinder.inputs is not None
    assert grinder.inputs["ct"].grinder is not None
    assert (grinder.inputs["ct"].input, grinder.inputs["ct"].grinder.grinder) == (None, "list")


def test_dates_and_times_are_written_as_dicom_does() -> None:
    """DA, TM and DT (PS3.5 section 6.2), also within lists and tables."""
    zone = dt.timezone(dt.timedelta(hours=2))
    elements: dict[str, Any] = {
        "StudyDate": dt.date(2026, 1, 2),
        "StudyTime": dt.time(3, 4, 5, 6),
        "AcquisitionDateTime": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone),
        "Sequence": {"items": [{"StudyDate": dt.date(2026, 1, 3)}]},
    }
    table = DeclaredPipeline.model_validate({"blueprint": {"elements": elements}})
    assert table.blueprint is not None
    assert table.blueprint.elements == {
        "StudyDate": "20260102",
        "StudyTime": "030405.000006",
        "AcquisitionDateTime": "20260102030405.000000+0200",
        "Sequence": {"items": [{"StudyDate": "20260103"}]},
    }


def test_what_is_declared_survives_json() -> None:
    """A declaration is plain data, of what was set alone; read again it is the same table."""
    assert DeclaredPipeline().declaration() is None
    table = DeclaredPipeline.model_validate(
        {"process": "site:halve", "inputs": {"ct": "site-ct"}, "outputs": ["dicom"], "header_input": None}
    )
    plain = table.declaration()
    assert plain is not None
    assert set(plain) == {"process", "inputs", "outputs"}
    again = DeclaredPipeline.model_validate(json.loads(json.dumps(plain)))
    assert again.declaration() == plain


@pytest.mark.parametrize(
    "table", [{"proces": "x"}, {"inputs": {"ct": {"inputs": "x"}}}, {"filling_strategy": "keep"}]
)
def test_a_key_that_is_misspelt_is_refused(table: dict[str, Any]) -> None:
    """Nothing is passed over in silence."""
    with pytest.raises(ValidationError):
        DeclaredPipeline.model_validate(table)


def test_blueprint_files(tmp_path: Path) -> None:
    """A path that ends in ``.toml`` is replaced by the file; what cannot be read is told by its key."""
    (tmp_path / "b.toml").write_text('base = "ct"\n')
    (tmp_path / "bad.toml").write_text("base = ct\n")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    tables: dict[str, Any] = {
        "pipelines": {
            "good": {"blueprint": "b.toml"},
            "named": {"blueprint": "ct"},
            "table": {"blueprint": {"base": "ct"}},
            "none": {},
            "odd": 3,
            "gone": {"blueprint": "none.toml"},
            "bad": {"blueprint": "bad.toml"},
            "binary": {"blueprint": "binary.toml"},
        }
    }
    problems = dict(read_blueprint_files(tables, tmp_path))
    assert tables["pipelines"]["good"] == {"blueprint": {"base": "ct"}}
    assert tables["pipelines"]["named"] == {"blueprint": "ct"}
    assert {key[1] for key in problems} == {"gone", "bad", "binary"}
    assert (
        problems["pipelines", "gone", "blueprint"]
        == f"{tmp_path / 'none.toml'} cannot be read: No such file or directory"
    )
    assert "bad.toml is not TOML" in problems["pipelines", "bad", "blueprint"]
    assert read_blueprint_files({"pipelines": 3}, tmp_path) == []
