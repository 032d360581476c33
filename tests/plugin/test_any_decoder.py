"""BSO of fairseq's own encoder-decoders: violations, loss and gradients against whole prefixes that are run again."""

from functools import partial
from random import Random
from typing import List, NamedTuple, Optional
from unittest import mock

import pytest
import torch
from bso_runs import make_model, train_until_no_violation
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from reference import constraints, fakes, stock
from reference.whole_prefixes import Options, Scores, beam_search_loss

from fairseq_bso.bso.criterion import BeamSearchOptimizationCriterion
from fairseq_bso.bso.curriculum import BeamCurriculum
from fairseq_bso.decoding.constraint import Constraint
from fairseq_bso.models import packing

pytestmark = pytest.mark.usefixtures("double_precision")

END = 2
MODELS = [*stock.VARIANTS, "bso_lstm"]
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # a seed cannot be shrunk


class Task(fakes.FakeTask):
    """A task of 10 symbols, with ``--successors word_order`` if wished, as ``--task bso_translation`` makes it."""

    def __init__(self, word_order: bool = False) -> None:
        super().__init__(words=6)
        if word_order:
            self.batch_constraint = Constraint("word_order", self.source_dictionary, self.target_dictionary)


class Batch(NamedTuple):
    """Sentences as word ids."""

    sources: List[List[int]]
    golds: List[List[int]]


def allows(source: List[int], prefix: List[int]):
    """The words that ``word_order`` allows, by the slow twin; ``source`` ends in ``</s>``."""
    return constraints.word_order(source[:-1], prefix, END)


def draw_batch(model, task: Task, random: Random, word_order: bool = False) -> Batch:
    """1 to 3 sentences; in two thirds of them gold consists of words that the model likes."""
    lengths = sorted((random.randint(1, 4) for _ in range(random.randint(1, 3))), reverse=True)
    words = random.sample(range(4, 10), 4)  # few words, so that they are repeated
    sources = [[*random.choices(words, k=length), END] for length in lengths]
    golds = []
    for source in sources:
        allowed = partial(allows, source) if word_order else None
        sharpness = random.choice([0.0, 2.0, 5.0])
        longest = random.randint(2, 6)
        golds.append(
            stock.likely_gold(Scores(model, source), longest, random.random, task.target_dictionary, sharpness, allowed)
        )
    return Batch(sources, golds)


def criterion(task: Task, options: Options) -> BeamSearchOptimizationCriterion:
    """The criterion with the options of the twin."""
    finished = {}
    if options.finished_lenpen is not None:
        finished = {"finished": "rival", "finished_lenpen": options.finished_lenpen}
    return BeamSearchOptimizationCriterion(
        task,
        train_beam=options.beam,
        initial_beam=2,
        updates_per_beam=0,
        delta=options.delta,
        margin=options.margin,
        nll_weight=options.nll_weight,
        search_dtype="model",
        search_screen=2,
        sentence_avg=False,
        search_words=options.search_words,
        **finished,
    )


def gradients(model, loss) -> List[torch.Tensor]:
    """Gradients of every parameter, zero where the loss does not reach it."""
    model.zero_grad(set_to_none=True)
    if loss.requires_grad:
        loss.backward()
    return [torch.zeros_like(one) if one.grad is None else one.grad for one in model.parameters()]


def check(model, task: Task, batch: Batch, options: Options, allowed: Optional[object] = None) -> None:
    """Compares violations, loss and gradients with the twin's."""
    loss, sample_size, logged = criterion(task, options)(model, stock.batch(task, *batch))
    expected = beam_search_loss(model, *batch, options, allowed)
    violations = [violation for found in expected.violations for violation in found]
    assert logged["violations"] == len(violations)
    assert int(logged["searched_words"]) == sum(one.time + 1 - one.reset for one in violations)
    assert float(logged["gold_gap"]) == pytest.approx(sum(one.gap for one in violations), abs=1e-7)
    assert sample_size == logged["ntokens"] == sum(map(len, batch.golds))
    assert loss.requires_grad
    # Costs of sentence_bleu are float32.
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if options.delta == "sentence_bleu" else {"rtol": 1e-7, "atol": 1e-8}
    torch.testing.assert_close(loss.detach(), expected.loss.detach(), **tolerance)
    names = [name for name, _ in model.named_parameters()]
    for name, ours, theirs in zip(names, gradients(model, loss), gradients(model, expected.loss)):
        torch.testing.assert_close(ours, theirs, **tolerance, msg=lambda text, name=name: f"{name}: {text}")


OPTIONS = st.builds(
    Options,
    beam=st.integers(2, 6),
    margin=st.sampled_from([1.0, 0.25, 3.0]),
    delta=st.sampled_from(["zero_one", "sentence_bleu", "hamming"]),
    nll_weight=st.sampled_from([0.0, 0.0, 0.3]),
    finished_lenpen=st.sampled_from([None, None, 0.0, 0.6, 1.0]),
    search_words=st.sampled_from([0, 0, 1, 16]),
)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=8, phases=PHASES)
@given(options=OPTIONS, seed=st.integers(0, 99_999), training=st.booleans(), group=st.sampled_from([1, 16]))
def test_loss_and_gradients_equal_the_twin(name, options, seed, training, group):
    """The vocabulary has 10 words: 16 search words are all of them, 1 is the beam's best ones alone."""
    task = Task()
    model = make_model(name, seed, task).train(training)  # dropout is 0
    with mock.patch.multiple(packing, SMALLEST_GROUP=group, LEAST_SAVED=-1):
        check(model, task, draw_batch(model, task, Random(seed)), options)
    assert all(module.training == training for module in model.modules())


@pytest.mark.parametrize(
    "name", stock.of_these("transformer", "transformer_learned_pre_norm", "lstm", "lightconv", "fconv")
)
@settings(max_examples=8, phases=PHASES)
@given(options=OPTIONS, seed=st.integers(0, 99_999))
def test_constrained_loss_and_gradients_equal_the_twin(name, options, seed):
    task = Task(word_order=True)
    model = make_model(name, seed, task)
    check(model, task, draw_batch(model, task, Random(seed), word_order=True), options, allows)


@pytest.mark.parametrize("name", stock.of_these("transformer", "lstm", "lightconv", "fconv"))
def test_one_sentence_equals_many(name):
    """Padding of sources and targets changes nothing."""
    task, options = Task(), Options(4, nll_weight=0.5, finished_lenpen=1.0)
    model = make_model(name, 3, task)
    sources, golds = [[4, 5, 6, 7, 8, END], [5, 5, END], [9, END]], [[4, END], [5, 6, 7, 7, 4, END], [8, 8, END]]
    bso = criterion(task, options)
    together, _, logged = bso(model, stock.batch(task, sources, golds))
    alone = [bso(model, stock.batch(task, [source], [gold])) for source, gold in zip(sources, golds)]
    assert logged["violations"] == sum(each["violations"] for _, _, each in alone) > 0
    torch.testing.assert_close(together, sum(loss for loss, _, _ in alone))


@pytest.mark.parametrize("name", stock.of_these("transformer", "transformer_cross_self", "lstm", "lightconv", "fconv"))
def test_an_update_of_the_weights_is_seen(name):
    """Nothing that is kept from one update to the next depends on the weights."""
    task, options = Task(), Options(4)
    model = make_model(name, 4, task).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    bso = criterion(task, options)
    for seed in range(3):
        batch = draw_batch(model, task, Random(seed))
        optimizer.zero_grad()
        bso(model, stock.batch(task, *batch))[0].backward()
        optimizer.step()
        check(model, task, batch, options)


class Wrapper(torch.nn.Module):
    """A wrapper as those of data parallelism; it counts the calls."""

    def __init__(self, module) -> None:
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, *args, **given):
        self.calls += 1
        return self.module(*args, **given)


@pytest.mark.parametrize("name", ["transformer", "lstm", "bso_lstm"])
def test_a_wrapped_model_is_called_once(name):
    task = Task()
    model = make_model(name, 5, task)
    sample = stock.batch(task, *draw_batch(model, task, Random(5)))
    bso, wrapped = criterion(task, Options(3, nll_weight=0.1)), Wrapper(model)
    alone, wrapped_loss = bso(model, sample)[0], bso(wrapped, sample)[0]
    torch.testing.assert_close(wrapped_loss, alone)
    assert wrapped.calls == 1
    assert "forward" not in vars(model)


@pytest.mark.parametrize("name", ["lstm", "fconv"])
def test_training_ends_with_no_violation_and_zero_loss(name):
    task = Task()
    model = make_model(name, 1, task)
    sample = stock.batch(task, [[5, 6, END], [7, END]], [[4, 5, 6, END], [9, 9, END]])
    bso = criterion(task, Options(3))
    loss, logged = train_until_no_violation(model, lambda: bso(model, sample))
    assert logged["violations"] == 0 and loss.item() == 0


def test_the_beam_grows_with_the_updates():
    """The curriculum needs the number of updates, which fairseq's own models do not keep."""
    task = Task()
    model = make_model("transformer", 1, task).train()
    bso = criterion(task, Options(6))
    bso.curriculum = BeamCurriculum(2, 6, 1)
    sample = stock.batch(task, [[4, 5, END]], [[5, 6, END]])
    for update, beam in ((0, 2), (3, 5), (9, 6)):
        model.set_num_updates(update)
        assert bso(model, sample)[2]["beam"] == beam
    assert bso(model.eval(), sample)[2]["beam"] == 6
