"""The settings of the pipeline, as they stand in the host's configuration."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from dicomnode import IdentityMapping
from dicomnode_anonymize.anonymizer import Anonymizer
from dicomnode_anonymize.errors import AnonymizeError
from dicomnode_anonymize.keys import default_key_file, key_from_environment, key_from_file
from dicomnode_anonymize.options import Option, checked_options
from dicomnode_anonymize.private import parsed_tags
from dicomnode_anonymize.table_file import mapping_in


class KeySource(BaseModel):
    """Where the secret key is: ``{ env = "VARIABLE" }`` or ``{ file = "/path" }``.

    Attributes
    ----------
    env : str, optional
        An environment variable.
    file : pathlib.Path, optional
        A file of its owner's alone; it is made with a random key when it does not exist.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> KeySource:
        if (self.env is None) == (self.file is None):
            msg = 'say where the key is, by one of { env = "VARIABLE" } and { file = "/path" }'
            raise ValueError(msg)
        return self

    def read(self) -> str:
        """Return the key.

        Raises
        ------
        AnonymizeError
            When it cannot be read.
        """
        return key_from_file(self.file) if self.file is not None else key_from_environment(self.env or "")


class Settings(BaseModel):
    """Settings of the pipeline ``anonymize``.

    Attributes
    ----------
    options : tuple of str
        Options of the profile, by name.
    key : KeySource, optional
        Where the secret key is. By default ``anonymize.key`` in the user's configuration folder.
    table : pathlib.Path, optional
        A file that remembers whose each pseudonym is.
    vocabulary : tuple of str
        Words that may stay in descriptions besides the known ones.
    safe_private : tuple of str
        Private attributes that may stay besides the known ones, as ``(0019,"SIEMENS MR HEADER",0c)``.
    burned_in, visual_features : {"refuse", "flag"}
        What becomes of images whose pixels may hold text about the patient, or show a face.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: tuple[str, ...] = ()
    key: KeySource | None = None
    table: Path | None = None
    vocabulary: tuple[str, ...] = ()
    safe_private: tuple[str, ...] = ()
    burned_in: Literal["refuse", "flag"] = "refuse"
    visual_features: Literal["refuse", "flag"] = "flag"

    @field_validator("options")
    @classmethod
    def _known_options(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            chosen = checked_options(names)
        except AnonymizeError as error:
            raise ValueError(str(error)) from None
        if Option.RETAIN_UIDS in chosen:
            msg = (
                "retain-uids would give the original and the de-identified instance one UID on one network;"
                " use the command `dicomnode-host anonymize` for it"
            )
            raise ValueError(msg)
        return tuple(sorted(chosen))

    @field_validator("safe_private")
    @classmethod
    def _private_tags(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        try:
            parsed_tags(texts)
        except AnonymizeError as error:
            raise ValueError(str(error)) from None
        return texts

    def mapping(self) -> AbstractContextManager[IdentityMapping]:
        """Return the mapping, for a ``with`` block.

        Raises
        ------
        AnonymizeError
            When key or table cannot be used.
        """
        return mapping_in(self.table, (self.key or KeySource(file=default_key_file())).read())

    def anonymizer(self, mapping: IdentityMapping) -> Anonymizer:
        """Return what de-identifies by these settings."""
        return Anonymizer(
            mapping,
            self.options,
            vocabulary=self.vocabulary,
            safe_private=self.safe_private,
            burned_in=self.burned_in,
            visual_features=self.visual_features,
        )
