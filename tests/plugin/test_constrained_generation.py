"""fairseq's generator under a constraint, compared with all outputs and a reference beam search."""

import math
from argparse import Namespace

import pytest
import torch
from fairseq import search
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import constraints as slow
from reference import fakes

from fairseq_bso.decoding.constrained import ConstrainedGenerator
from fairseq_bso.decoding.constraint import Constraint
from fairseq_bso.errors import UserError
from fairseq_bso.search.shortlist import ShortlistTable

PADDING, END = 1, 2
LABELS = ["@L_a", "@R_a", "@R_b"]


def task_with_labels():
    task = fakes.FakeTask(words=4)
    for label in LABELS:
        task.target_dictionary.add_symbol(label)
    return task


def allowed(name, source, prefix, dictionary):
    if name == "word_order":
        return slow.word_order(source, prefix, END)
    return slow.arc_standard(source, prefix, END, {dictionary.index(label) for label in LABELS})


def step_scores(models, source, prefix):
    """Scores of all next words, from scratch for each prefix: the mean f, or the log of the mean probability."""
    words = torch.tensor([source + [END]])
    inputs = torch.tensor([[END, *prefix]])
    scores = []
    for model in models:
        f = model.decoder(inputs, model.encoder(words, torch.tensor([words.size(1)])))[0][0, -1]
        scores.append(f.log_softmax(0) if model.prefix_score.normalized else f)
    stacked = torch.stack(scores)
    return stacked.logsumexp(0) - math.log(len(models)) if models[0].prefix_score.normalized else stacked.mean(0)


def slow_beam(models, name, source, beam, dictionary):
    """Reference beam search: [(words, score)], best first. All outputs of a sentence have the same length."""
    live, done = [((), 0.0)], []
    while live:
        candidates = []
        for prefix, score in live:
            scores = step_scores(models, source, list(prefix))
            for word in allowed(name, source, prefix, dictionary):
                value = scores[word].item()
                candidates.append(((*prefix, word), score + value if models[0].prefix_score.cumulative else value))
        candidates.sort(key=lambda candidate: -candidate[1])
        kept = candidates[:beam]
        done += [candidate for candidate in kept if candidate[0][-1] == END]
        live = [candidate for candidate in kept if candidate[0][-1] != END]
    return done


def generate(models, task, name, sources, beam, prefix=None, **options):
    constraint = Constraint(name, task.source_dictionary, task.target_dictionary)
    options = {"normalize_scores": False, "search_strategy": search.BeamSearch(task.target_dictionary), **options}
    generator = ConstrainedGenerator(models, task.target_dictionary, constraint, beam_size=beam, **options)
    net_input, _ = fakes.batch(models[0], [source + [END] for source in sources], [[END]] * len(sources))
    found = generator.generate(models, {"net_input": net_input}, prefix_tokens=prefix)
    return [[(tuple(h["tokens"].tolist()), h["score"].item(), h) for h in hypotheses] for hypotheses in found]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["word_order", "arc_standard"]),
    st.sampled_from(["softmax", "summed", "unnormalized"]),
    st.lists(st.lists(st.sampled_from([3, 4, 5, 6, 7]), max_size=4), min_size=1, max_size=4),
    st.sampled_from([1, 2, 5]),
    st.integers(0, 99),
    st.integers(1, 2),
)
def test_equals_the_slow_beam_search(name, scorer, sources, beam, seed, members):
    task = task_with_labels()
    models = [fakes.model(seed + member, task, scorer=scorer) for member in range(members)]
    found = generate(models, task, name, sources, beam)
    assert len(found) == len(sources)
    for source, hypotheses in zip(sources, found):
        expected = slow_beam(models, name, source, beam, task.target_dictionary)
        assert [words for words, _, _ in hypotheses] == [words for words, _ in expected]
        for (_, score, hypothesis), (_, value) in zip(hypotheses, expected):
            assert score == pytest.approx(value, abs=1e-4)
            assert hypothesis["positional_scores"].sum().item() == pytest.approx(value, abs=1e-4)


def test_a_wide_beam_finds_every_output():
    task = task_with_labels()
    models = [fakes.model(3, task)]
    source = [4, 5, 4, 4, 5]
    (found,) = generate(models, task, "word_order", [source], beam=10)
    every = slow.outputs(lambda prefix: slow.word_order(source, prefix, END), 6, END)
    assert len(every) == 10  # 5! / (3! 2!)
    assert sorted(words for words, _, _ in found) == sorted(every)


@pytest.mark.parametrize("name", ["word_order", "arc_standard"])
def test_sentences_of_very_different_lengths_in_one_batch(name):
    """Short sentences leave the batch while the search of long ones continues."""
    task = task_with_labels()
    models = [fakes.model(5, task)]
    sources = [[4], [], [4, 5, 6, 7] * 5, [5, 5, 5], [3], [4, 5, 6, 7, 3] * 3]
    together = generate(models, task, name, sources, beam=4)
    for source, hypotheses in zip(sources, together):
        (alone,) = generate(models, task, name, [source], beam=4)
        assert [words for words, _, _ in hypotheses] == [words for words, _, _ in alone]
        assert len(hypotheses[0][0]) == (len(source) if name == "word_order" else max(2 * len(source) - 1, 0)) + 1


def test_source_words_are_found_in_another_target_dictionary():
    source, target = fakes.dictionary(3), fakes.dictionary(0)
    for word in ("word2", "word0"):
        target.add_symbol(word)
    successors = Constraint("word_order", source, target)(torch.tensor([[PADDING, 4, 5, 6, END]]))
    # word0, word1, word2 have the source ids 4, 5, 6 and the target ids 5, unknown, 4.
    assert successors.candidates.tolist() == [[END, target.unk(), 4, 5, PADDING, PADDING]]


def test_a_prefix_is_forced_or_refused():
    task = task_with_labels()
    models = [fakes.model(1, task)]
    (found,) = generate(models, task, "word_order", [[4, 5, 6]], 3, prefix=torch.tensor([[6]]))
    assert {words[0] for words, _, _ in found} == {6} and len(found) == 2
    for wrong in ([[7]], [[6, 6]], [[6, END]]):  # no word of the source, once too often, too early
        with pytest.raises(UserError, match="--prefix-size requires the word '.*', which --successors word_order does"):
            generate(models, task, "word_order", [[4, 5, 6]], 3, prefix=torch.tensor(wrong))


@pytest.mark.parametrize("strategy", [search.BeamSearch, search.Sampling])
def test_a_sentence_whose_output_is_too_long_is_named_and_left_empty(caplog, strategy):
    """The others of its batch are decoded as without it."""
    task = task_with_labels()
    models = [fakes.model(1, task, max_target_positions=6, scorer="softmax")]
    short, long = [4, 5, 6, 7, 4], [4, 5, 6, 7, 4, 4]
    options = {"search_strategy": strategy(task.target_dictionary)}
    (alone,) = generate(models, task, "word_order", [short], 2, **options)
    assert len(alone) == 2 and not caplog.text
    together = generate(models, task, "word_order", [long, short, long], 2, **options)
    assert [len(hypotheses) for hypotheses in together] == [1, 2, 1]
    assert strategy is search.Sampling or [one[:2] for one in together[1]] == [one[:2] for one in alone]
    for hypotheses in (together[0], together[2], *generate(models, task, "word_order", [long], 2, **options)):
        assert [words for words, _, _ in hypotheses] == [(END,)] and hypotheses[0][1] == -math.inf
    message = "needs an output of 6 words and </s>, but the model has --max-target-positions 6"
    assert caplog.text.count(message) == 3 and "sentence 2: --successors word_order needs" in caplog.text
    assert caplog.text.count("the sentence is 'word0 word1 word2 word3 word0 word0'") == 3


def test_other_searches_stay_within_the_constraint():
    task = task_with_labels()
    models = [fakes.model(2, task, scorer="softmax")]
    for strategy in (
        search.DiverseBeamSearch(task.target_dictionary, 2, 0.5),
        search.DiverseSiblingsSearch(task.target_dictionary, 0.5),
        search.Sampling(task.target_dictionary),
        search.Sampling(task.target_dictionary, sampling_topk=100),  # more than there are candidates
    ):
        sources = [[4, 5, 6, 7], [5, 5, 6]]
        found = generate(models, task, "word_order", sources, 4, search_strategy=strategy)
        for source, hypotheses in zip(sources, found):
            assert hypotheses
            for words, score, _ in hypotheses:
                assert sorted(words[:-1]) == sorted(source) and score > -math.inf


@pytest.mark.parametrize("size", [1, 2])
def test_ngrams_are_not_repeated_where_the_constraint_leaves_the_order_free(size):
    model = fakes.model(2)
    dictionary = model.decoder.dictionary
    table = ShortlistTable(torch.tensor([4, 5, 6]), torch.full((len(dictionary), 1), PADDING))
    constraint = Constraint("shortlist", dictionary, dictionary, table)
    net_input, _ = fakes.batch(model, [[4, 5, END], [6, END]], [[END]] * 2)
    repeated = []
    for banned in (0, size):
        limits = {"beam_size": 3, "max_len_a": 0, "max_len_b": 6, "no_repeat_ngram_size": banned}
        found = ConstrainedGenerator([model], dictionary, constraint, **limits).generate(
            [model], {"net_input": net_input}
        )
        outputs = [one["tokens"].tolist() for ones in found for one in ones]
        ngrams = [[tuple(words[at : at + size]) for at in range(len(words) - size + 1)] for words in outputs]
        assert len(outputs) == 6 and all(words[-1] == END and {*words} <= {END, 3, 4, 5, 6} for words in outputs)
        repeated.append(sum(len(set(ones)) < len(ones) for ones in ngrams))
    assert repeated[0] > 0 == repeated[1]


def test_a_sentence_without_an_output_is_empty_and_named(caplog):
    """The constraint never allows one source word, so its sentence never ends."""
    from fairseq_bso.search import constraints

    class Stuck(constraints.WordOrder):
        def allowed(self, state, sentences):
            return super().allowed(state, sentences) & (self.candidates[sentences] != 5)

    constraints.register_successors("stuck_in_the_generation_test", Stuck)
    task = task_with_labels()
    found = generate([fakes.model(1, task)], task, "stuck_in_the_generation_test", [[4, 5], [4, 6]], 3)
    assert [words for words, _, _ in found[0]] == [(END,)] and found[0][0][1] == -math.inf
    assert len(found[1]) == 2
    assert "sentence 0: no hypothesis on the beam reached an end" in caplog.text


def test_a_name_that_nobody_registered():
    task = Namespace(**vars(fakes.FakeTask()))
    with pytest.raises(UserError, match="--successors: unknown constraint 'tree'; choose from: none"):
        Constraint("tree", task.source_dictionary, task.target_dictionary)
