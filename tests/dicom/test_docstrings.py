"""The examples in the docstrings of floor 1."""

import doctest
import importlib
import pkgutil

import pytest

import dicomnode.dicom

MODULES = sorted(found.name for found in pkgutil.walk_packages(dicomnode.dicom.__path__, "dicomnode.dicom."))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name):
    """Each example gives what stands below it."""
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert not results.failed


def test_there_are_examples():
    """They are found."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 10
