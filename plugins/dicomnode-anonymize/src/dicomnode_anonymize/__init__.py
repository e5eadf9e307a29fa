"""De-identification by the Basic Application Level Confidentiality Profile of PS3.15 Annex E."""

from dicomnode_anonymize.anonymizer import Anonymizer
from dicomnode_anonymize.errors import AnonymizeError
from dicomnode_anonymize.options import Option

__all__ = ["AnonymizeError", "Anonymizer", "Option"]
