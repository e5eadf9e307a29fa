"""What a check of the node found, as plain data."""

from __future__ import annotations

import json

from dicomnode.host.operation.finding import Finding, Verdict


def test_a_finding_becomes_plain_data() -> None:
    """Every field under its name, and the verdict as its word, so that JSON can hold it."""
    plain = Finding("data", "/srv/node", Verdict.WARNING, "little is left").to_json()
    assert json.loads(json.dumps(plain)) == {
        "check": "data",
        "what": "/srv/node",
        "verdict": "warning",
        "message": "little is left",
    }


def test_the_words_of_the_verdicts() -> None:
    """Three verdicts, told by the words that programs compare with."""
    assert [str(each) for each in Verdict] == ["ok", "warning", "failed"]
