"""What the UIDs of a job's results derive from: the same for the same job, another for any other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.jobs.job_identity import job_identity


@given(st.text(), st.text(), st.lists(st.text()))
def test_identity_depends_on_what_not_on_order(pipeline: str, container_key: str, uids: list[str]) -> None:
    """The identity is the same for the same instances in any order, and gives none of them away."""
    identity = job_identity(pipeline, container_key, uids, "a")
    assert identity == job_identity(pipeline, container_key, [*reversed(uids), *uids], "a")
    assert len(identity) == 64
    assert identity != job_identity(pipeline, container_key, [*uids, "".join(uids) + "x"], "a")
    assert identity != job_identity(pipeline + "x", container_key, uids, "a")
    assert identity != job_identity(pipeline, container_key, uids, "b")


def test_identity_is_stable() -> None:
    """The identity never changes between versions: results of a job that is run again keep their UIDs."""
    known = "0b795f06d14bd25da14eedc9d9aacb27659174458049e966eb29b70484ce2dc6"
    assert job_identity("smooth", "123", ["1.2", "1.3"], "digest") == known


def test_where_a_part_ends_counts() -> None:
    """Parts that make the same text when they are put together make different identities."""
    parts = [("ab", "c", ["1"], "d"), ("a", "bc", ["1"], "d"), ("ab", "c", ["1d"], ""), ("ab", "c1", [], "d")]
    assert len({job_identity(*each) for each in parts}) == len(parts)
    assert len({job_identity("p", "c", uids, "") for uids in (["1", "2"], ["12"], ["1"], ["2"])}) == 4


def test_any_text_has_an_identity() -> None:
    """Text that cannot be encoded, as damaged bytes give it, is told from other text all the same."""
    assert job_identity("p", "\udcff", [], "") != job_identity("p", "\udcfe", [], "")
