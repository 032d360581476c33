"""``--criterion scheduled_sampling`` against plain loops, on several kinds of model; schedules; what is refused."""

import math
import re

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.logging import metrics
from hypothesis import given
from hypothesis import strategies as st
from reference import fakes, lstm, stock, whole_prefixes
from reference import scheduled_sampling as slow

from fairseq_bso.cross_entropy.mixing import SamplingSchedule, draw, own_words
from fairseq_bso.cross_entropy.scheduled_sampling import ScheduledSamplingCriterion
from fairseq_bso.errors import UserError

pytestmark = pytest.mark.usefixtures("double_precision")

END, PADDING, UNKNOWN = 2, 1, 3
SOURCES = [[5, 6, 7, 8, END], [8, 9, 4, END], [7, END]]
GOLDS = [[7, 8, 4, 9, 5, END], [5, END], [6, 6, 7, 8, END]]


def criterion(task=None, smoothing=0.1, **options):
    given = {"sampling_slope": 0.0, "sampling_k": 0.4, "sampling_floor": 0.0, **options}
    return ScheduledSamplingCriterion(task or fakes.FakeTask(words=6), False, smoothing, **given)


def make(name, seed=3, **options):
    """A model in training, which has made 5 updates, and a batch."""
    task = fakes.FakeTask(words=6)
    if name == "bso_lstm":
        model = fakes.model(seed, task, **{"scorer": "softmax", "init_range": 1.6, **options})
    else:
        model = stock.model(name, seed, task, **options)
    model.set_num_updates(5)
    return model.train(), stock.batch(task, SOURCES, GOLDS)


def chances_of(model, source):
    """The distribution after some inputs, which begin with ``</s>``, by a run of their own; padding has none."""
    scores = None if hasattr(model, "prefix_score") else whole_prefixes.Scores(model, source)

    def chances(fed):
        with torch.no_grad():
            prefix = list(fed[1:])
            values = scores(prefix) if scores else lstm.scores_after(model, source, prefix)
            found = values.softmax(0).tolist()
        return [0.0 if word == PADDING else chance for word, chance in enumerate(found)]

    return chances


@pytest.mark.parametrize("words", ["sampled", "best"])
@pytest.mark.parametrize("passes", [1, 5], ids=["two passes", "one word at a time"])
@pytest.mark.parametrize("name", ["bso_lstm", "transformer", "lstm", "fconv"])
def test_mixed_inputs_are_those_of_plain_loops(name, passes, words):
    """Five passes settle the five places after which an own word may be fed."""
    model, sample = make(name)
    made, counts = criterion(sampling_passes=passes, sampling_words=words, word_dropout=0.3), torch.zeros(2)
    previous = sample["net_input"]["prev_output_tokens"]
    for seed in range(4):
        torch.manual_seed(seed)
        mixed, draws = made.with_mixed_inputs(model.train(), sample)
        torch.manual_seed(seed)
        assert all(torch.equal(*pair) for pair in zip(draws, draw(previous, PADDING, 0, 0.4, 0.3)))
        counts += torch.stack([draws.own.sum(), draws.unknown.sum()])
        model.eval()
        for row, (source, gold) in enumerate(zip(SOURCES, GOLDS)):
            decisions = [part[row, : len(gold)].tolist() for part in draws]
            right = slow.inputs(
                chances_of(model, source), [END, *gold[:-1]], *decisions, UNKNOWN, words == "sampled", passes > 1
            )
            found = mixed["net_input"]["prev_output_tokens"][row].tolist()
            assert found == right + [PADDING] * (previous.size(1) - len(gold))
    assert counts.min() > 2


@pytest.mark.parametrize("name", ["bso_lstm", "transformer"])
def test_the_loss_is_fairseqs_on_the_mixed_inputs(name):
    model, sample = make(name)
    made, theirs = criterion(word_dropout=0.2), LabelSmoothedCrossEntropyCriterion(fakes.FakeTask(words=6), False, 0.1)
    torch.manual_seed(1)
    mixed, _ = made.with_mixed_inputs(model, sample)
    torch.manual_seed(1)
    ours, size, logged = made(model, sample)
    right, right_size, right_logged = theirs(model, mixed)
    torch.testing.assert_close(ours, right)
    gradients = [torch.autograd.grad(loss, list(model.parameters()), allow_unused=True) for loss in (ours, right)]
    torch.testing.assert_close(*gradients)
    assert size == right_size and float(logged["nll_loss"]) == pytest.approx(float(right_logged["nll_loss"]))
    assert not torch.equal(mixed["net_input"]["prev_output_tokens"], sample["net_input"]["prev_output_tokens"])


@pytest.mark.parametrize("name", ["bso_lstm", "transformer"])
def test_gold_alone_and_validation_are_plain_teacher_forcing(name):
    model, sample = make(name, dropout=0.5)
    theirs = LabelSmoothedCrossEntropyCriterion(fakes.FakeTask(words=6), False, 0.1)
    found = criterion(sampling_k=1.0).with_mixed_inputs(model, sample)[0]["net_input"]["prev_output_tokens"]
    assert torch.equal(found, sample["net_input"]["prev_output_tokens"])
    model.eval()
    before = torch.get_rng_state()
    ours, _, logged = criterion(word_dropout=0.5)(model, sample)
    assert torch.equal(before, torch.get_rng_state()) and logged["own_words"] == logged["unknown_words"] == 0
    torch.testing.assert_close(ours, theirs(model, sample)[0])


def test_decisions_depend_on_the_seed_and_the_update_alone():
    model, sample = make("bso_lstm", dropout=0.3)
    made = criterion(sampling_schedule="exponential", sampling_k=0.9, sampling_floor=0.1)
    losses = {}
    for _ in range(2):
        for update in (20, 0, 3):  # fairseq seeds torch by --seed and the update
            model.set_num_updates(update)
            torch.manual_seed(1 + update)
            loss, _, logged = made(model, sample)
            assert losses.setdefault(update, loss.item()) == loss.item()
            assert (int(logged["own_words"]) == 0) == (update == 0)
    assert len(set(losses.values())) == 3


def test_the_search_for_own_words_is_without_dropout_and_leaves_the_model_in_training():
    model, sample = make("transformer", dropout=0.9)
    with torch.no_grad():
        torch.manual_seed(2)
        found = criterion(sampling_words="best").with_mixed_inputs(model, sample)[0]
        assert all(module.training for module in model.modules())
        for module in model.modules():
            module.training = False
        torch.manual_seed(2)
        right = criterion(sampling_words="best").with_mixed_inputs(model, sample)[0]
    assert torch.equal(*(one["net_input"]["prev_output_tokens"] for one in (found, right)))


@pytest.mark.parametrize("scorer", ["summed", "unnormalized"])
def test_every_scorer_of_bso_lstm_draws_from_its_softmax(scorer):
    inputs = []
    for name in ("softmax", scorer):
        model, sample = make("bso_lstm", scorer=name)
        torch.manual_seed(5)
        inputs.append(criterion().with_mixed_inputs(model, sample)[0]["net_input"]["prev_output_tokens"])
    assert torch.equal(*inputs)


def test_shares_of_words_are_those_asked_for():
    torch.manual_seed(3)
    previous = torch.full((200, 101), 5)
    previous[::2, 61:] = PADDING
    draws = draw(previous, PADDING, 2, 0.7, 0.2)
    free = previous.ne(PADDING) & (torch.arange(101) > 2)
    assert not (draws.own | draws.unknown)[~free].any() and not (draws.own & draws.unknown).any()
    count = int(free.sum())
    assert float(draws.own.sum()) / count == pytest.approx(0.3, abs=0.02)
    assert float(draws.unknown.sum()) / count == pytest.approx(0.7 * 0.2, abs=0.02)
    scores = torch.tensor([0.1, 0.4, 0.2, 0.3]).log().repeat(int(draws.own.sum()), 1)
    words = own_words(scores, draws, PADDING, True)
    following = torch.bincount(words[:, :-1][draws.own[:, 1:]], minlength=4) / draws.own.sum()
    torch.testing.assert_close(following, torch.tensor([0.1, 0, 0.2, 0.3]) / 0.6, rtol=0, atol=0.02)


@given(
    st.sampled_from(["linear", "exponential", "inverse_sigmoid"]),
    st.floats(0, 1),
    st.floats(0, 0.1),
    st.floats(0, 1),
    st.integers(0, 2000),
)
def test_schedules_are_those_of_the_reference(name, k, slope, floor, update):
    k = 1 + 300 * k if name == "inverse_sigmoid" else k
    ours = SamplingSchedule(name, k, slope, floor)
    if update / k < 700 if k else True:
        assert ours.gold_share(update) == pytest.approx(slow.gold_share(name, k, slope, floor, update))
    assert ours.gold_share(update) >= ours.gold_share(update + 1)


def test_hand_traced_schedules():
    assert [SamplingSchedule("linear", 1, 0.1, 0.25).gold_share(i) for i in (0, 5, 9)] == pytest.approx([1, 0.5, 0.25])
    assert [SamplingSchedule("exponential", 0.5, 0, 0).gold_share(i) for i in (0, 1, 3)] == [1, 0.5, 0.125]
    found = [SamplingSchedule("inverse_sigmoid", 10, 0, 0).gold_share(i) for i in (0, 10, 10**6)]
    assert found == pytest.approx([10 / 11, 10 / (10 + math.e), 0])


def test_the_log_says_how_many_words_were_own():
    model, sample = make("bso_lstm")
    _, _, logged = criterion(word_dropout=0.5)(model, sample)
    with metrics.aggregate() as found:
        ScheduledSamplingCriterion.reduce_metrics([logged, logged])
    values = found.get_smoothed_values()
    assert values["own_words"] == round(int(logged["own_words"]) / 13, 3) > 0 and values["unknown_words"] > 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sampling_k": 1.5}, "--sampling-k is 1.5, but --sampling-schedule linear needs one from 0 to 1"),
        ({"sampling_schedule": "exponential", "sampling_k": float("nan")}, "--sampling-k is nan, but"),
        (
            {"sampling_schedule": "inverse_sigmoid"},
            "--sampling-k is 0.4, but --sampling-schedule inverse_sigmoid needs",
        ),
        ({"sampling_slope": -0.1}, "--sampling-slope is -0.1, but must be from 0 to 1"),
        ({"sampling_floor": 2.0}, "--sampling-floor is 2.0, but must be from 0 to 1"),
        ({"word_dropout": 1.0}, "--word-dropout is 1.0, but must be at least 0 and below 1"),
        ({"sampling_passes": 0}, "--sampling-passes is 0, but must be at least 1"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        criterion(**options)


def test_a_model_that_does_not_note_updates_is_refused():
    model, sample = make("bso_lstm")
    del model.updates_before
    with pytest.raises(UserError, match="BsoLSTMModel does not note the number of updates"):
        criterion()(model, sample)
