"""Images in geometric order, and what keeps them from forming a volume."""

from dicomnode.dicom.geometry.slice_sorting import sort_by_geometry
from dicomnode.dicom.geometry.slice_stack import Fault, Problem, SliceStack
from made_slices import enhanced, fault_of, image, positions, stack_of


def test_nothing_is_raised_until_a_volume_is_wanted():
    """A list may be sorted as far as it has an order; what is wrong stands in the stack."""
    stack = sort_by_geometry([image((0, 0, z)) for z in (9, 0, 1)])
    assert [z for _, _, z in positions(stack)] == [0, 1, 9]
    assert [problem.fault for problem in stack.problems] == [Fault.GAP]
    assert stack.require_volume(allow=[Fault.GAP]) is stack


def test_no_images_are_no_volume():
    """The message says that there is nothing."""
    assert fault_of([]) == ([Fault.EMPTY], "0 images form no volume: there is no image")


def test_all_problems_are_in_one_message():
    """The reader need not come back for the next one."""
    images = [*stack_of(3), image((0, 0, 20), rows=9, FrameOfReferenceUID="1.2")]
    images[0].FrameOfReferenceUID = "1.3"
    faults, text = fault_of(images)
    assert set(faults) == {Fault.SIZE, Fault.FRAME_OF_REFERENCE, Fault.GAP}
    assert text.count(";") >= 2


def test_long_lists_in_messages_are_cut():
    """Thousands of images do not make a message of thousands of positions."""
    _, text = fault_of([image((0, 0, 5 * z + (z % 2))) for z in range(300)])
    assert len(text) < 1000
    assert "more" in text


def test_a_problem_is_its_own_summary_unless_it_has_one():
    """What a patient still lacks is said in a line."""
    assert Problem(Fault.GAP, "long").brief == "long"
    assert Problem(Fault.GAP, "long", "short").brief == "short"


def test_a_stack_knows_its_images_and_positions():
    """Each image once, however many frames it has; positions of one time point."""
    frames = enhanced([0, 2.5, 0, 2.5], TemporalPositionIndex=[1, 1, 2, 2])
    stack = sort_by_geometry([frames])
    assert stack.images == (frames,)
    assert (stack.times, stack.slices, len(stack.planes)) == (2, 2, 4)
    assert stack.positions.tolist() == [[0, 0, 0], [0, 0, 2.5]]
    assert SliceStack((), 0).positions is None
