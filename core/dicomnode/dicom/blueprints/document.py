"""Ready-made blueprint of a PDF report."""

from __future__ import annotations

from typing import Final

from pydicom.uid import EncapsulatedPDFStorage

from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.blueprints.common import equipment_blueprint, patient_blueprint, study_blueprint
from dicomnode.dicom.elements.standard_elements import CopyElement, StaticElement
from dicomnode.dicom.values.codes import Code, code_item
from dicomnode.errors import InvalidValueError

encapsulated_pdf_blueprint: Final = (
    patient_blueprint
    + study_blueprint
    + equipment_blueprint
    + Blueprint(
        [
            StaticElement("Modality", "DOC"),
            StaticElement("ConversionType", "WSD"),
            StaticElement("InstanceNumber", 1),
            StaticElement("AcquisitionDateTime", None),
            StaticElement("BurnedInAnnotation", "YES"),
            StaticElement("DocumentTitle", None),
            StaticElement("ConceptNameCodeSequence", None),
            StaticElement("MIMETypeOfEncapsulatedDocument", "application/pdf"),
            CopyElement("VerificationFlag", optional=True),
        ]
    )
).with_sop_class(EncapsulatedPDFStorage, name="Encapsulated PDF")
"""Encapsulated PDF (PS3.3 A.45.1) without its document; :func:`pdf_blueprint` adds it.

BurnedInAnnotation says YES, since a report usually names its patient; override it where yours does not.
"""


def pdf_blueprint(document: bytes, title: str | None = None, *, concept: Code | None = None) -> Blueprint:
    """Return the blueprint of one PDF report.

    Parameters
    ----------
    document : bytes
        The PDF file.
    title : str, optional
        DocumentTitle, at most 1024 characters.
    concept : (str, str, str), optional
        What kind of document it is, a code of CID 7020: (value, scheme, meaning), such as
        ``("18748-4", "LN", "Diagnostic imaging study")``.

    Returns
    -------
    Blueprint
        :data:`encapsulated_pdf_blueprint` and the document. Build it with ``DicomFactory.build``.

    Raises
    ------
    InvalidValueError
        When ``document`` is not a PDF file.
    """
    if not document.lstrip()[:5] == b"%PDF-":
        raise InvalidValueError(f"EncapsulatedDocument: {document[:12]!r}... does not begin like a PDF file")
    added = [
        StaticElement("EncapsulatedDocument", document + b"\0" * (len(document) % 2)),
        StaticElement("EncapsulatedDocumentLength", len(document)),
    ]
    if title is not None:
        added.append(StaticElement("DocumentTitle", title))
    if concept is not None:
        added.append(StaticElement("ConceptNameCodeSequence", [code_item(concept)]))
    return encapsulated_pdf_blueprint + Blueprint(added)
