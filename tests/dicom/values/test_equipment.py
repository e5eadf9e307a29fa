"""The software that makes a result, as the result names it."""

import datetime as dt

from dicomnode.dicom.values.equipment import Equipment


def test_an_item_names_the_software():
    """Purpose, name, version, maker, description and moment of the contribution (PS3.3 C.12.1)."""
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=dt.UTC)
    item = Equipment("smooth", "1.2", "ACME", "Gaussian", moment=moment).item()
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert (item.Manufacturer, item.ManufacturerModelName, item.SoftwareVersions) == ("ACME", "smooth", "1.2")
    assert item.ContributionDescription == "Gaussian"
    assert item.ContributionDateTime == "20260102030405.000600+0000"


def test_what_is_not_known_is_left_out():
    """No empty version, description or moment."""
    item = Equipment("smooth").item()
    for keyword in ("SoftwareVersions", "ContributionDescription", "ContributionDateTime"):
        assert keyword not in item


def test_values_are_cut_to_what_the_vr_holds():
    """64 characters of an LO, 1024 of an ST (PS3.5 section 6.2)."""
    item = Equipment("n" * 99, "v" * 99, "m" * 99, "d" * 2000).item()
    lengths = [len(item[k].value) for k in ("ManufacturerModelName", "SoftwareVersions", "Manufacturer")]
    assert lengths == [64, 64, 64]
    assert len(item.ContributionDescription) == 1024


def test_a_derivation_always_has_a_description_and_a_code():
    """Those of the author, else the name of the software and "Image Processing" (PS3.3 C.7.6.16.2.6)."""
    blur = ("113088", "DCM", "Gaussian blur")
    stated, silent = Equipment(description="Gaussian", codes=(blur,)), Equipment("smooth", "1.2")
    assert stated.derivation_description() == "Gaussian"
    assert [code.CodeValue for code in stated.derivation_codes()] == ["113088"]
    assert silent.derivation_description() == "Processed by smooth 1.2"
    assert [code.CodeValue for code in silent.derivation_codes()] == ["110001"]
    assert Equipment("smooth").derivation_description() == "Processed by smooth"
