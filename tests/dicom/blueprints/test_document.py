"""The ready-made blueprint of a PDF report."""

import pytest

from dicomnode.dicom import blueprints
from dicomnode.errors import InvalidValueError


def test_only_a_pdf_is_encapsulated_as_pdf():
    """Other bytes are refused."""
    with pytest.raises(InvalidValueError, match="does not begin like a PDF"):
        blueprints.pdf_blueprint(b"<html>")


def test_a_document_is_padded_and_counted():
    """Its length is that of the file, its value of even length (PS3.3 C.24.2)."""
    made = blueprints.pdf_blueprint(b"%PDF-1.4 odd")
    assert made["EncapsulatedDocument"].value == b"%PDF-1.4 odd"
    odd = blueprints.pdf_blueprint(b"%PDF-1.4 x!")
    assert odd["EncapsulatedDocument"].value == b"%PDF-1.4 x!\0"
    assert odd["EncapsulatedDocumentLength"].value == 11


def test_a_document_has_the_title_and_concept_that_it_is_given():
    """Without them the Type 2 attributes stay empty."""
    concept = ("18748-4", "LN", "Diagnostic imaging study")
    made = blueprints.pdf_blueprint(b"%PDF-", "Report", concept=concept)
    assert made["DocumentTitle"].value == "Report"
    assert made["ConceptNameCodeSequence"].value[0].CodeValue == "18748-4"
    plain = blueprints.pdf_blueprint(b"%PDF-")
    assert plain["DocumentTitle"] == blueprints.encapsulated_pdf_blueprint["DocumentTitle"]
    assert not plain["ConceptNameCodeSequence"].value


def test_a_document_may_begin_with_white_space():
    """Some writers put a line end in front."""
    assert "EncapsulatedDocument" in blueprints.pdf_blueprint(b"\r\n%PDF-1.7")
