"""Pruning of whole units, compared with its reference, with many equal magnitudes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import pruning as twin

from fairseq_bso.errors import UserError
from fairseq_bso.prune.schemes import PruningSchedule
from fairseq_bso.prune.unit_classes import UnitClasses
from fairseq_bso.unit_sets import Slice, UnitSet, indices, magnitudes, zero_units


@st.composite
def models(draw):
    """(parameters, two sets): a small recurrent layer, whose units a second matrix reads and a vector shifts.

    Numbers are quarters, whose squares sum exactly, so that both implementations have the same ties.
    """
    units, read, width = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    shapes = {"recurrent": (2 * units, units), "bias": (2 * units,), "out": (read, units), "into": (2 * units, width)}
    numbers = st.sampled_from([-0.5, -0.25, 0.0, 0.25, 0.5])
    sizes = {name: shape[0] * (shape[1] if len(shape) > 1 else 1) for name, shape in shapes.items()}
    drawn = {name: draw(st.lists(numbers, min_size=size, max_size=size)) for name, size in sizes.items()}
    parameters = {name: torch.tensor(drawn[name]).view(shape) for name, shape in shapes.items()}
    rows = [Slice(name, 0, gate * units) for name in ("recurrent", "bias", "into") for gate in (0, 1)]
    columns = [Slice("recurrent", 1, 0), Slice("out", 1, 0)]
    hidden = UnitSet("hidden", ("hidden",), "hidden", units, (*rows, *columns))
    inputs = UnitSet("inputs", ("inputs",), "inputs", width, (Slice("into", 1, 0),))
    return parameters, [hidden, inputs]


def share_of(units, share):
    """How many units a share is; one is always kept."""
    return min(round(share * units.size), units.size - 1)


def classes_of(parameters, sets, **options):
    return UnitClasses([((name,), tensor) for name, tensor in parameters.items()], sets, **options)


def units_of(classes, pruned):
    return [mask.tolist() for mask in classes._units(pruned)]


def twin_masks(parameters, sets, pruned, counts):
    shapes = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    values = {name: tensor.tolist() for name, tensor in parameters.items()}
    return [
        twin.prune_units(values, twin.unit_places(shapes, units.slices, units.size), before, max(count, sum(before)))
        for units, before, count in zip(sets, pruned, counts)
    ]


@given(drawn=models(), shares=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)))
def test_pruned_units_equal_the_twin_and_stay_pruned(drawn, shares):
    parameters, sets = drawn
    classes = classes_of(parameters, sets)
    few, many = ([share_of(units, share) for units in sets] for share in sorted(shares))
    first = classes.extend_masks(classes.empty_masks(), few)
    nothing = [[False] * units.size for units in sets]
    assert units_of(classes, first.pruned) == twin_masks(parameters, sets, nothing, few)
    assert classes.pruned_counts(first.pruned) == few
    # Between two steps of a schedule the weights change. Those of pruned units are zero.
    changed = {
        name: tensor.flip(0).mul(~mask) for (name, tensor), mask in zip(classes.parameters.items(), first.pruned)
    }
    later = classes_of(changed, sets)
    second = later.extend_masks(first.pruned, many)
    before = units_of(classes, first.pruned)
    assert units_of(later, second.pruned) == twin_masks(changed, sets, before, many)
    assert all((~one | other).all() for one, other in zip(first.pruned, second.pruned))


@given(drawn=models(), share=st.floats(0, 0.9))
def test_masks_cover_all_weights_of_the_units_and_no_other(drawn, share):
    parameters, sets = drawn
    classes = classes_of(parameters, sets)
    masks = classes.extend_masks(classes.empty_masks(), [share_of(units, share) for units in sets])
    shapes = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    expected = set()
    for units, pruned in zip(sets, units_of(classes, masks.pruned)):
        for places, gone in zip(twin.unit_places(shapes, units.slices, units.size), pruned):
            expected |= set(places) if gone else set()
    found = {
        (name, *place) for name, mask in zip(classes.parameters, masks.pruned) for place in mask.nonzero().tolist()
    }
    assert found == expected
    classes.write_zero_marks(masks.pruned)
    zeros = units_of(classes, classes.zeros())
    for units, before, after in zip(sets, units_of(classes, masks.pruned), zeros):
        assert all(now or not gone for gone, now in zip(before, after)), units.name


@given(drawn=models())
def test_zero_units_are_those_of_magnitude_zero(drawn):
    parameters, sets = drawn
    for units in sets:
        assert zero_units(units, parameters).tolist() == (magnitudes(units, parameters) == 0).tolist()


def test_a_traced_example():
    """A layer of three units whose recurrent matrix has one row for each unit, read by one output.

    The weight (0, 0) of unit 0 is in its row and in its column, and counts once:

        recurrent  2 0 1      unit 0: 2 0 1 in its row, 3 4 in its column, 1 read   4 + 1 + 9 + 16 + 1 = 31
                   3 0 2      unit 1: 3 0 2 in its row, 0 0 in its column, 4 read   9 + 4 + 16 = 29
                   4 0 1      unit 2: 4 0 1 in its row, 1 2 in its column, 1 read   16 + 1 + 1 + 4 + 1 = 23
        out        1 4 1

    A third, one unit, prunes unit 2. Its column is then zero, which leaves unit 0 with 30 and unit 1 with 25, and
    their rows and columns without those of unit 2 with 4 + 9 + 1 = 14 and 9 + 16 = 25. So unit 0 is next.
    """
    recurrent, out = torch.tensor([[2.0, 0, 1], [3, 0, 2], [4, 0, 1]]), torch.tensor([[1.0, 4, 1]])
    slices = (Slice("recurrent", 0, 0), Slice("recurrent", 1, 0), Slice("out", 1, 0))
    units = UnitSet("layer", ("layer",), "layer", 3, slices)
    classes = classes_of({"recurrent": recurrent, "out": out}, [units])
    assert magnitudes(units, classes.parameters).square().round().tolist() == [31, 29, 23]
    masks = classes.extend_masks(classes.empty_masks(), classes.counts(PruningSchedule("one_shot", 1 / 3), 0))
    assert units_of(classes, masks.pruned) == [[False, False, True]]
    assert masks.thresholds == [pytest.approx(23**0.5)]
    assert masks.pruned[0].tolist() == [[False, False, True], [False, False, True], [True, True, True]]
    for weight, mask in zip(classes.weights, masks.pruned):
        weight.masked_fill_(mask, 0)
    assert magnitudes(units, classes.parameters).square().round().tolist() == [14, 25, 0]
    masks = classes.extend_masks(masks.pruned, [2])
    assert units_of(classes, masks.pruned) == [[True, False, True]]
    assert "layer" in classes.table(masks) and "33.33%" in classes.table(masks)


def test_indices_name_every_slice():
    units = UnitSet("layer", ("layer",), "layer", 3, (Slice("gates", 0, 0), Slice("gates", 0, 3), Slice("out", 1, 2)))
    found = indices(units, torch.tensor([True, False, True]))
    assert [(name, dimension, places.tolist()) for name, dimension, places in found] == [
        ("gates", 0, [0, 2]),
        ("gates", 0, [3, 5]),
        ("out", 1, [2, 4]),
    ]


def test_what_stays_whole_is_named():
    parts = {name: UnitSet(name, (name, "both"), name, 4, (Slice(name, 0, 0),)) for name in ("first", "second")}
    parameters = {name: torch.ones(4, 2) for name in parts}
    sets = list(parts.values())
    assert [units.name for units in classes_of(parameters, sets, exclude="fir*").sets] == ["second"]
    assert [units.name for units in classes_of(parameters, sets, frozen={"second"}).sets] == ["first"]
    with pytest.raises(
        UserError, match="--prune-exclude third matches no units of this model, which are first, second"
    ):
        classes_of(parameters, sets, exclude="third, first")
    with pytest.raises(UserError, match="no unit can be pruned"):
        classes_of(parameters, sets, exclude="both")
    with pytest.raises(
        UserError, match=r"--prune-units is 0.9, but would prune all 4 units of first: give at most 0.75"
    ):
        classes_of(parameters, sets).check_amount(0.9, "--prune-units")
