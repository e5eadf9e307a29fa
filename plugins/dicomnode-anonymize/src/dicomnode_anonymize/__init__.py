"""De-identification by the Basic Application Level Confidentiality Profile of PS3.15 Annex E."""

from .anonymizer import Anonymizer
from .errors import AnonymizeError
from .options import Option

__all__ = ["AnonymizeError", "Anonymizer", "Option"]
