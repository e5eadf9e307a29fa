"""Earlier images of a patient, fetched from a PACS when the patient is first seen."""
