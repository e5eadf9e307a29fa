"""Coded entries (PS3.3 section 8)."""

from dicomnode.dicom.values.codes import code_item


def test_a_code_is_an_item_of_three_attributes():
    """Value, scheme and meaning, and nothing else (PS3.3 table 8.8-1)."""
    item = code_item(("113088", "DCM", "Gaussian blur"))
    assert (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) == (
        "113088",
        "DCM",
        "Gaussian blur",
    )
    assert len(item) == 3


def test_each_item_is_a_new_one():
    """Changing one changes no other."""
    code = ("1", "99X", "one")
    first, second = code_item(code), code_item(code)
    first.CodeMeaning = "changed"
    assert second.CodeMeaning == "one"
