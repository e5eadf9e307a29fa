"""Private blocks of copied data sets are those of the copy."""

import copy

from pydicom.dataset import Dataset

from dicomnode.dicom.values.private_blocks import forget_private_blocks


def with_block(text):
    """Return a data set whose private block was looked up."""
    dataset = Dataset()
    dataset.private_block(0x0029, "ACME", create=True).add_new(1, "LO", text)
    return dataset


def test_pydicom_keeps_the_block_of_the_original():
    """The reason for this module: when this fails, it can go."""
    original = with_block("x")
    assert copy.deepcopy(original).private_block(0x0029, "ACME").dataset is original


def test_what_is_written_to_a_block_of_a_copy_stays_there():
    """In the data set itself and in the items of its sequences, however deep."""
    original, item, inner = with_block("root"), with_block("item"), with_block("inner")
    item.ReferencedImageSequence = [inner]
    original.ReferencedStudySequence = [item]
    copied = copy.deepcopy(original)
    forget_private_blocks(copied)
    within = copied.ReferencedStudySequence[0]
    for dataset in (copied, within, within.ReferencedImageSequence[0]):
        dataset.private_block(0x0029, "ACME")[1].value = "changed"
    for dataset, text in ((original, "root"), (item, "item"), (inner, "inner")):
        assert dataset.private_block(0x0029, "ACME")[1].value == text
