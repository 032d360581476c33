"""Pruning, compared with its reference, with many equal magnitudes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import pruning as twin

from fairseq_bso.prune import schemes

SCHEMES = ["class_blind", "class_uniform", "class_distribution"]
# Sums and squares of quarters are exact, so both implementations have the same deviations and the same ties.
numbers = st.integers(-4, 4).map(lambda value: value / 4)
classes = st.lists(st.lists(st.tuples(numbers, st.booleans()), min_size=1, max_size=9), min_size=1, max_size=4)


def tensors(lists, dtype=torch.float32):
    return [torch.tensor(values, dtype=dtype) for values in lists]


def lists(masks):
    return [mask.tolist() for mask in masks]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@given(drawn=classes, share=st.floats(0, 1))
def test_masks_equal_the_twin_ties_included(scheme, dtype, drawn, share):
    weights = [[0.0 if before else value for value, before in one] for one in drawn]
    pruned = [[before for _, before in one] for one in drawn]
    before = sum(map(sum, pruned))
    count = before + round(share * (sum(map(len, weights)) - before))
    choice = schemes.get_scheme(scheme)(tensors(weights, dtype), tensors(pruned, torch.bool), count)
    assert lists(choice.pruned) == getattr(twin, scheme)(weights, pruned, count)
    assert all(now or not then for one, other in zip(lists(choice.pruned), pruned) for now, then in zip(one, other))
    assert sum(map(sum, lists(choice.pruned))) == count


@pytest.mark.parametrize("scheme", SCHEMES)
@given(drawn=classes, counts=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_growing_mask_keeps_what_is_pruned(scheme, drawn, counts):
    weights = tensors([[value for value, _ in one] for one in drawn])
    size = sum(map(len, weights))
    few, many = sorted(round(share * size) for share in counts)
    empty = [torch.zeros_like(one, dtype=torch.bool) for one in weights]
    first = schemes.get_scheme(scheme)(weights, empty, few)
    second = schemes.get_scheme(scheme)(weights, first.pruned, many)
    assert all((~before | after).all() for before, after in zip(first.pruned, second.pruned))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(drawn=classes, share=st.floats(0, 1))
def test_no_kept_weight_is_below_the_threshold_of_its_class(scheme, drawn, share):
    weights = tensors([[value for value, _ in one] for one in drawn], torch.float64)
    empty = [torch.zeros_like(one, dtype=torch.bool) for one in weights]
    choice = schemes.get_scheme(scheme)(weights, empty, round(share * sum(map(len, weights))))
    for one, mask, threshold in zip(weights, choice.pruned, choice.thresholds):
        assert (one[~mask].abs() >= threshold * (1 - 1e-9)).all()
        if scheme != "class_distribution":
            assert (one[mask].abs() <= threshold).all()


@given(
    classes=st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1)), min_size=1, max_size=7),
    begun=st.booleans(),
    share=st.floats(0, 1),
)
def test_equal_shares_equal_the_twin(classes, begun, share):
    sizes = [size for size, _ in classes]
    least = [round(begun * size * part) for size, part in classes]
    count = sum(least) + round(share * (sum(sizes) - sum(least)))
    given = schemes.equal_shares(sizes, count, least)
    assert given == twin.equal_shares(sizes, count, least)
    assert sum(given) == count and all(low <= have <= size for low, have, size in zip(least, given, sizes))
    assert begun or schemes.equal_shares(sizes, count) == given


def test_a_traced_example_of_the_three_schemes():
    """Half of the weights of two classes with four weights each are pruned; 0.2 is in both classes.

    class_blind prunes the four smallest weights of the model, 0.1, 0.2, 0.2 and 0.3. It keeps 0.8 alone in the first
    class, and prunes 0.2 alone in the second. class_uniform prunes two weights of each class. class_distribution
    divides by the deviations, sqrt(0.195 - 0.01) = 0.430 and sqrt(7.51 - 0.09) = 2.724. The weight 0.3 is kept because
    0.3 / 0.430 is more than 1 / 2.724.
    """
    weights = tensors([[0.1, -0.2, -0.3, 0.8], [0.2, 1.0, -2.0, 5.0]], torch.float64)
    empty = [torch.zeros(4, dtype=torch.bool)] * 2
    blind = schemes.class_blind(weights, empty, 4)
    assert lists(blind.pruned) == [[True, True, True, False], [True, False, False, False]]
    assert blind.thresholds == [0.3, 0.3]
    uniform = schemes.class_uniform(weights, empty, 4)
    assert lists(uniform.pruned) == [[True, True, False, False], [True, True, False, False]]
    assert uniform.thresholds == [0.2, 1.0]
    spread = schemes.class_distribution(weights, empty, 4)
    assert lists(spread.pruned) == [[True, True, False, False], [True, True, False, False]]
    assert spread.thresholds[0] < 0.3 and spread.thresholds[1] > 1 - 1e-9


def test_classes_without_deviation_are_pruned_last_unless_they_are_zero():
    weights = tensors([[0.5, 0.5], [0.0, 0.0], [1.0, 9.0]])
    empty = [torch.zeros(2, dtype=torch.bool)] * 3
    choice = schemes.class_distribution(weights, empty, 4)
    assert lists(choice.pruned) == [[False, False], [True, True], [True, True]]
    assert choice.thresholds[:2] == [0.0, 0.0]


@given(
    amount=st.sampled_from([0.1, 0.5, 0.9]),
    start=st.integers(0, 9),
    length=st.integers(1, 30),
    every=st.integers(1, 12),
    update=st.integers(0, 60),
)
def test_schedules_equal_the_twin_and_never_fall(amount, start, length, every, update):
    for kind, slow in (("gradual", twin.cubic), ("iterative", twin.iterative)):
        schedule = schemes.PruningSchedule(kind, amount, start, start + length, every)
        assert schedule.share(update) == pytest.approx(slow(amount, start, start + length, every, update), abs=1e-12)
        assert schedule.share(update) <= schedule.share(update + 1) <= amount
        assert schedule.share(start + length) == amount and schedule.share(start - 1) == 0


def test_one_shot_and_counts():
    schedule = schemes.PruningSchedule("one_shot", 0.8, 5)
    assert [schedule.share(update) for update in (0, 4, 5, 6)] == [0, 0, 0.8, 0.8]
    assert [schedule.count(5, weights) for weights in (0, 1, 2, 7)] == [0, 1, 2, 6]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("sudden", 0.5), "unknown pruning schedule 'sudden'"),
        (("one_shot", 1.0), "amount to prune is 1.0"),
        (("one_shot", -0.1), "amount to prune is -0.1"),
        (("one_shot", 0.5, -1), "at update -1"),
        (("one_shot", 0.5, 3, 9), "an end at 9"),
        (("gradual", 0.5, 3, 3), "must end after its start"),
        (("iterative", 0.5, 3, 9, 0), "every 0 updates"),
    ],
)
def test_impossible_schedules_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        schemes.PruningSchedule(*arguments)


def test_schemes_are_registered_once_and_named_when_unknown():
    assert set(schemes.scheme_names()) >= set(SCHEMES)
    with pytest.raises(ValueError, match="choose from: .*class_blind"):
        schemes.get_scheme("classblind")
    with pytest.raises(ValueError, match="already registered"):
        schemes.register_scheme("class_blind")
