"""What outputs and the host's delivery share: items as plain data."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dicomnode import OutboxItem

names = st.text(max_size=5)


@given(
    uid=names,
    folders=st.lists(names, max_size=2).map(tuple),
    destinations=st.none() | st.lists(names, max_size=2).map(tuple),
)
def test_an_item_survives_json_in_another_folder(
    uid: str, folders: tuple[str, ...], destinations: tuple[str, ...] | None
) -> None:
    """A manifest names files relative to its folder, which was built under another name."""
    item = OutboxItem(
        output="dicom",
        path=Path("/outbox/.1.building/00/a.dcm"),
        SOPInstanceUID=uid,
        folders=folders,
        file_name="a.dcm",
        destinations=destinations,
    )
    plain = json.loads(json.dumps(item.to_json(Path("/outbox/.1.building"))))
    assert plain["path"] == "00/a.dcm"
    again = OutboxItem.from_json(plain, Path("/outbox/1"))
    assert again.path == Path("/outbox/1/00/a.dcm")
    assert (again.SOPInstanceUID, again.folders, again.destinations) == (uid, folders, destinations)
