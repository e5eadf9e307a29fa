"""Collecting what sources or a factory lack, so that all of it is reported at once."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from dicomnode.errors import MissingTagsError


def missing_tags_error(
    keywords: Sequence[str], sources: Sequence[Dataset], lacking: int | None = None
) -> MissingTagsError:
    """Make the error for attributes that the sources lack.

    Parameters
    ----------
    keywords : sequence of str
        What is lacking.
    sources : sequence of Dataset
        Where it was looked for.
    lacking : int, optional
        How many of the sources lack it; all of them if not given.
    """
    total = len(sources)
    where = (
        "there are no source datasets"
        if not total
        else f"{lacking or total} of {total} source datasets lack it"
    )
    return MissingTagsError(f"{', '.join(keywords)}: {where}", keywords)


class MissingTags:
    """Collects what is missing, so that all of it is reported at once. Entered as a context, repeatedly."""

    def __init__(self) -> None:
        self.errors: list[MissingTagsError] = []

    def __enter__(self) -> MissingTags:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if isinstance(error, MissingTagsError):
            self.errors.append(error)
            return True
        return False

    def report(self, what: str) -> None:
        """Raise one error for all, if there were any.

        Raises
        ------
        MissingTagsError
            With every keyword.
        """
        if not self.errors:
            return
        keywords = [keyword for error in self.errors for keyword in error.keywords]
        if len(self.errors) == 1:
            raise MissingTagsError(f"{what}: {self.errors[0]}", keywords)
        lines = "".join(f"\n  {error}" for error in self.errors)
        raise MissingTagsError(
            f"{what}: {len(keywords)} attributes are missing: {', '.join(keywords)}{lines}", keywords
        )

    def report_within(self, keyword: str) -> None:
        """Raise one error for all that is missing in a sequence, its keyword in front of each.

        Parameters
        ----------
        keyword : str
            The sequence.

        Raises
        ------
        MissingTagsError
            With every keyword as ``Sequence.Attribute``.
        """
        if self.errors:
            keywords = [f"{keyword}.{nested}" for error in self.errors for nested in error.keywords]
            raise MissingTagsError("; ".join(f"{keyword}.{error}" for error in self.errors), keywords)
