"""Which images belong together, with DCMTK's senders: no job is of two groups, none is refused for others.

The lines of issue 11, each on the running host. When a job starts is in ``test_gathering.py``.
"""

from __future__ import annotations

import pytest

from gathering_site import Site

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]


# -- several studies ----------------------------------------------------------------------------------------


def test_two_studies_of_a_patient_never_share_a_job(site: Site) -> None:
    """The CT of one and the PET of the other wait apart, each for what it lacks."""
    ct = site.series(3, "CT")
    pet = site.series(3, "PT", PatientID=ct.patient)
    site.storescu("PETCT", ct.folder)
    site.storescu("PETCT", pet.folder)
    site.pass_settle()
    assert site.jobs(ct, pet) == []
    found = {tuple(entry["inputs"].items()): entry["missing"] for entry in site.waiting(ct)}
    assert found == {
        (("ct", 3), ("pet", 0)): "pet: no image yet",
        (("ct", 0), ("pet", 3)): "ct: no image yet",
    }
    pet_of_ct, ct_of_pet = site.series(3, "PT", **ct.of_study), site.series(4, "CT", **pet.of_study)
    site.storescu("PETCT", pet_of_ct.folder, ct_of_pet.folder)
    site.wait_delivered([ct, pet_of_ct], [pet, ct_of_pet])


@pytest.mark.parametrize("title", ["SERIES", "PETCT"])
def test_the_same_modality_of_two_studies_is_two_jobs(site: Site, title: str) -> None:
    """Neither CT is refused because the other one waits, however many inputs there are."""
    first = site.series(3, "CT")
    second = site.series(4, "CT", PatientID=first.patient)
    if title == "SERIES":
        site.storescu(title, first.folder, second.folder)
        site.wait_delivered(first, second)
        return
    pets = [site.series(2, "PT", **each.of_study) for each in (first, second)]
    site.storescu(title, first.folder, second.folder)
    site.pass_settle()
    assert site.jobs(first, second) == []
    site.storescu(title, *(each.folder for each in pets))
    site.wait_delivered([first, pets[0]], [second, pets[1]])


# -- several series -----------------------------------------------------------------------------------------


def test_a_study_of_five_series_at_a_pipeline_that_takes_one_is_five_jobs(site: Site) -> None:
    """Nothing is refused, so the sender sends all of it; each series is a job of its own."""
    first = site.series(3)
    series = [first, *(site.series(count, **first.of_study) for count in (4, 2, 5, 3))]
    site.storescu("SERIES", *(each.folder for each in series))
    site.wait_delivered(*series)


def test_what_is_discarded_is_unwanted_by_itself_and_counted(site: Site) -> None:
    """No wanted series is dropped because another one is there, and status, log and ledger say what is."""
    first = site.series(3)
    second, unwanted = site.series(4, **first.of_study), site.series(5, "CT", **first.of_study)
    site.storescu("ONLYMR", first.folder, unwanted.folder, second.folder)
    site.wait_delivered(first, second)
    site.host.wait_for_log("of this association: 5 images of 1 series discarded")
    reason = "images: Modality.*"
    site.wait_in_no_job(unwanted, ("discarded", 5, reason))
    assert site.in_no_job(first) == site.in_no_job(second) == []
    site.host.stop()
    site.host.start()
    site.wait_in_no_job(unwanted, ("discarded", 5, reason))
    site.storescu("ONLYMR", unwanted.folder)
    site.host.wait_for_log("of this association: 5 images of 1 series discarded")
    site.wait_in_no_job(unwanted, ("discarded", 10, reason))
    assert site.waiting(first) == []


def test_a_second_series_may_come_while_the_first_waits_and_after_it_has_started(site: Site) -> None:
    """Its head and its tail are one job."""
    first = site.series(4)
    second = site.series(6, **first.of_study)
    with (
        site.paused("SERIES", first.files, after=3) as one,
        site.paused("SERIES", second.files, after=3) as other,
    ):
        one.go_on()
        site.wait_delivered(first)
        assert site.jobs(second) == []
        other.go_on()
    site.wait_delivered(first, second)


def test_of_two_series_for_an_input_that_takes_one_the_operator_chooses(site: Site) -> None:
    """A PET/CT study with two CTs is held, says which fit, and starts with the one that is named."""
    thick = site.series(3, "CT")
    thin, pet = site.series(5, "CT", **thick.of_study), site.series(2, "PT", **thick.of_study)
    site.storescu("PETCT", thick.folder, thin.folder, pet.folder)
    site.pass_settle()
    (entry,) = site.waiting(thick)
    assert (site.jobs(thick, thin, pet), entry["held"]) == ([], "incomplete")
    fitting = f"{thick.uid} (3 images), {thin.uid} (5 images)"
    assert entry["missing"] == f"ct: 2 series fit, and a job takes one: {fitting}"
    site.command("process", "petct", thick.patient, "--series", thin.uid, "--reason", "the thin one")
    site.wait_delivered([thin, pet])
    assert site.waiting(thick) == []
    site.wait_in_no_job(thick, ("discarded", 3, "another series was chosen for the job"))


# -- several patients ---------------------------------------------------------------------------------------


def test_two_patients_whose_identifiers_cannot_be_decoded_are_two_jobs(site: Site) -> None:
    """They differ in bytes that are no UTF-8, which they say that they are: a lossy decoding is the same."""
    series = [site.series(3, PatientID="Mxller-1", SpecificCharacterSet="ISO_IR 192") for _ in range(2)]
    for each, letter in zip(series, (b"\xfc", b"\xf6"), strict=True):
        for file in each.files:
            stored = file.read_bytes()
            assert stored.count(b"Mxller-1") == 1
            file.write_bytes(stored.replace(b"Mxller-1", b"M" + letter + b"ller-1"))
    site.storescu("PATIENT", *(each.folder for each in series))
    site.wait_delivered(*series)


def test_two_patients_of_one_number_and_other_issuers_are_two_jobs(site: Site) -> None:
    """A Patient ID is unique for its issuer only."""
    first = site.series(3, IssuerOfPatientID="NORTH")
    second = site.series(3, PatientID=first.patient, IssuerOfPatientID="SOUTH")
    site.storescu("PATIENT", first.folder, second.folder)
    site.wait_delivered(first, second)
