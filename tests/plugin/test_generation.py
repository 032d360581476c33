"""fairseq's generator, built by the task for every ``--scorer``, compared with a reference beam search."""

import json
import logging
from argparse import Namespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from reference import fakes, lstm
from tiny_captures import SIZES

from fairseq_bso.decoding.unnormalized import common_prefix_score, prefix_score_of
from fairseq_bso.errors import UserError
from fairseq_bso.search.scorer import SCORERS
from fairseq_bso.tasks import BsoTranslationConfig, BsoTranslationTask

PADDING, END = 1, 2
TRAINING = {"dropout": 0.0, "max_source_positions": 64, "max_target_positions": 64}
EVERY_SCORER = ["softmax", "summed", "unnormalized"]


def task_of(**options):
    """The task without data files."""
    cfg = BsoTranslationConfig(**options)
    return BsoTranslationTask(cfg, fakes.dictionary(6), fakes.dictionary(6))


def local_scores(models, scorer, source, prefix):
    """Local scores (V,) of all next words: the log of the mean probability, or the mean f."""
    each = [lstm.scores_after(model, source, prefix) for model in models]
    if scorer != "softmax":
        return sum(each) / len(each)
    return torch.stack([f.softmax(0) for f in each]).mean(0).log()


def score_of(scorer, before, local):
    """The score of a prefix, from the score without the last word and the local score of that word."""
    return local if scorer == "unnormalized" else before + local


def repeats(prefix, word, size):
    """Whether a word completes an n-gram that a prefix holds already."""
    ngrams = {prefix[start : start + size] for start in range(len(prefix) - size + 1)}
    return size > 0 and (*prefix, word)[-size:] in ngrams


def slow_beam(models, scorer, source, beam, longest, lenpen, ngram):
    """[(words, score)], best first. A hypothesis that ends among the best K is finished; K finished end the search."""
    live, done = [((), 0.0)], []
    for step in range(longest + 1):
        candidates = []
        for prefix, before in live:
            for word, local in enumerate(local_scores(models, scorer, source, prefix).tolist()):
                if word == PADDING or repeats(prefix, word, ngram):
                    continue
                if step > 0 if word == END else step < longest:
                    candidates.append(((*prefix, word), score_of(scorer, before, local)))
        candidates.sort(key=lambda candidate: -candidate[1])
        for words, score in candidates[:beam]:
            if words[-1] == END and len(done) < beam:
                done.append((words, score / len(words) ** lenpen if scorer == "softmax" else score))
        live = [candidate for candidate in candidates[: 2 * beam] if candidate[0][-1] != END][:beam]
        if len(done) == beam or not live:
            break
    return sorted(done, key=lambda one: -one[1])


@pytest.mark.parametrize("scorer", EVERY_SCORER)
@settings(max_examples=20)
@given(
    seed=st.integers(0, 999),
    members=st.integers(1, 3),
    beam=st.integers(1, 4),
    sources=st.lists(st.lists(st.integers(4, 9), max_size=4), min_size=1, max_size=3),
    longest=st.integers(1, 5),
    lenpen=st.sampled_from([0.5, 1.0]),
    ngram=st.integers(0, 3),  # fairseq alone repeats n-grams on a CPU
)
def test_the_search_equals_plain_loops(scorer, seed, members, beam, sources, longest, lenpen, ngram):
    models = [fakes.model(seed + 1000 * member, scorer=scorer) for member in range(members)]
    options = Namespace(beam=beam, max_len_a=0, max_len_b=longest, lenpen=lenpen if scorer == "softmax" else 1.0)
    options.no_repeat_ngram_size = ngram
    generator = task_of().build_generator(models, options)
    net_input, _ = fakes.batch(models[0], [[*source, END] for source in sources], [[END]] * len(sources))
    every = generator.generate(models, {"net_input": net_input})
    assert len(every) == len(sources)
    for source, found in zip(sources, every):
        expected = slow_beam(models, scorer, [*source, END], beam, longest, lenpen, ngram)
        assert [tuple(one["tokens"].tolist()) for one in found] == [words for words, _ in expected]
        for one, (words, score) in zip(found, expected):
            assert one["score"].item() == pytest.approx(score, abs=1e-4)
            whole = one["positional_scores"].sum().item() / (len(words) ** lenpen if scorer == "softmax" else 1)
            assert whole == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("scorer", EVERY_SCORER)
@pytest.mark.parametrize("alignment", [None, "hard"])
def test_references_are_scored_as_hypotheses_are(scorer, alignment):
    model = fakes.model(7, scorer=scorer)
    sources, golds = [[5, 6, END], [8, 4, 4, 9, END]], [[6, 7, 7, 5, END], [9, END]]
    options = Namespace(score_reference=True, print_alignment=alignment)
    net_input, target = fakes.batch(model, sources, golds)
    scored = task_of().build_generator([model], options).generate([model], {"net_input": net_input, "target": target})
    for source, gold, (found,) in zip(sources, golds, scored):
        score = 0.0
        for time, word in enumerate(gold):
            local = local_scores([model], scorer, source, gold[:time])[word].item()
            score = score_of(scorer, score, local)
        assert found["score"].item() == pytest.approx(score / (len(gold) if scorer == "softmax" else 1), abs=1e-4)
        assert (found["alignment"] is not None) == (alignment is not None)


@pytest.mark.parametrize(
    "scorers, counted",
    [
        (["unnormalized", "softmax"], "1 unnormalized and 1 softmax"),
        (["summed", "unnormalized", "summed"], "2 summed and 1 unnormalized"),
        (["softmax", "summed", "unnormalized", "softmax"], "2 softmax, 1 summed and 1 unnormalized"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"score_reference": True}])
@pytest.mark.parametrize("successors", ["none", "word_order"])
def test_a_mixed_ensemble_is_refused(scorers, counted, options, successors):
    models = [fakes.model(scorer=scorer) for scorer in scorers]
    with pytest.raises(UserError, match=f"an ensemble of {counted} models has no common score"):
        task_of(successors=successors).build_generator(models, Namespace(**options))


@pytest.mark.parametrize("scorer", ["summed", "unnormalized"])
@pytest.mark.parametrize(
    "options, message",
    [
        ({"lenpen": 0.6}, "--lenpen is 0.6, but the raw scores of --scorer {} are never divided by length"),
        ({"lenpen": 0.0, "unnormalized": True}, "--lenpen is 0.0, but the raw scores of --scorer {} are never"),
        ({"temperature": 0.5}, "--temperature is 0.5, but the raw scores of --scorer {} have no temperature"),
        ({"sampling": True, "sampling_topp": 0.9}, "--sampling-topp is 0.9, but the raw scores of"),
        ({"match_source_len": True}, "--match-source-len sets the score of </s> to 0, but the raw scores of"),
        ({"score_reference": True}, "--score-reference accepts one model with --scorer {}, but got 2"),
    ],
)
def test_what_raw_scores_give_no_meaning_is_refused(scorer, options, message):
    models = [fakes.model(seed, scorer=scorer) for seed in range(2)]
    with pytest.raises(UserError, match=message.format(scorer)):
        task_of().build_generator(models, Namespace(**options))


@pytest.mark.parametrize("scorer", EVERY_SCORER)
def test_the_defaults_of_fairseqs_options_pass(scorer, caplog):
    options = {"lenpen": 1, "temperature": 1.0, "sampling_topp": -1.0, "match_source_len": False, "unnormalized": False}
    generator = task_of().build_generator([fakes.model(scorer=scorer)], Namespace(**options))
    assert generator.normalize_scores == SCORERS[scorer].normalized
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_sums_of_log_probabilities_that_are_not_divided_are_warned_of_once(caplog):
    task, models = task_of(), [fakes.model(seed, scorer="softmax") for seed in range(2)]
    generator = task.build_generator(models, Namespace(unnormalized=True, lenpen=0.6))
    assert not generator.normalize_scores  # fairseq's meaning of --unnormalized
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in warning and "favours short hypotheses and ignores --lenpen 0.6: leave out" in warning
    caplog.clear()
    task.build_generator(models, Namespace(unnormalized=True, score_reference=True))  # no hypotheses to compare
    for scorer in ("summed", "unnormalized"):
        task.build_generator([fakes.model(scorer=scorer)], Namespace(unnormalized=True))
    assert not caplog.records


@pytest.mark.parametrize("scorer", EVERY_SCORER)
def test_a_length_penalty_in_training_goes_on_as_before(scorer, caplog):
    """``--eval-bleu-args`` of an earlier run may have a length penalty, which raw scores never used."""
    task = task_of(eval_bleu=True, eval_bleu_args=json.dumps({"beam": 2, "lenpen": 0.6}))
    task.build_model(OmegaConf.create({"_name": "bso_lstm", "scorer": scorer, **SIZES, **TRAINING}))
    assert task.sequence_generator.normalize_scores == (scorer == "softmax")
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    expected = [f"--eval-bleu-args: --lenpen is 0.6, but the raw scores of --scorer {scorer} are never divided"]
    assert [warning[: len(expected[0])] for warning in warnings] == (expected if scorer != "softmax" else [])
    with pytest.raises(UserError, match="--temperature is 2.0"):
        task = task_of(eval_bleu=True, eval_bleu_args='{"temperature": 2.0}')
        task.build_model(OmegaConf.create({"_name": "bso_lstm", "scorer": "summed", **SIZES, **TRAINING}))


def test_other_models_than_ours_are_softmax_models():
    assert prefix_score_of(torch.nn.Linear(1, 1)) is SCORERS["softmax"]
    models = [torch.nn.Linear(1, 1), fakes.model(scorer="summed")]
    with pytest.raises(UserError, match="an ensemble of 1 softmax and 1 summed models"):
        common_prefix_score(models)


def command(task="translation", path="model.pt", **options):
    """The config that a decoding command passes to its models."""
    given = {"_name": None, "unnormalized": False, "score_reference": False, "lenpen": 1, "print_alignment": None}
    given.update({"temperature": 1.0, "sampling_topp": -1.0, "match_source_len": False})
    return OmegaConf.create(
        {"common_eval": {"path": path}, "task": {"_name": task}, "generation": {**given, **options}}
    )


@pytest.mark.parametrize("scorer", ["summed", "unnormalized"])
@pytest.mark.parametrize(
    "cfg, message",
    [
        (command(), "--task translation divides scores by length.*add --unnormalized, or use --task bso_translation"),
        (command(path="a.pt:b.pt", unnormalized=True), "--task translation averages probabilities over 2 models"),
        (command(unnormalized=True, lenpen=0.6), "--lenpen is 0.6, but the raw scores of --scorer .* are never"),
    ],
)
def test_another_task_that_would_change_raw_scores_is_refused(scorer, cfg, message):
    with pytest.raises(UserError, match=message) as refused:
        fakes.model(scorer=scorer).prepare_for_inference_(cfg)
    assert scorer in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("scorer", EVERY_SCORER)
@pytest.mark.parametrize(
    "cfg",
    [
        command("bso_translation"),
        command("word_distillation"),
        command("bso_translation", path="a.pt:b.pt", unnormalized=True),
        command(score_reference=True),
        command(path=None),  # the config of fairseq's hub
    ],
)
def test_what_another_task_leaves_as_it_is_passes(scorer, cfg, caplog):
    model = fakes.model(scorer=scorer)
    model.prepare_for_inference_(cfg)
    assert model._is_generation_fast  # fairseq's own preparation was done
    assert not caplog.records


def test_undivided_sums_are_warned_of_under_another_task_too(caplog):
    fakes.model(scorer="softmax").prepare_for_inference_(command(unnormalized=True))
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "favours short hypotheses: leave out --unnormalized" in warning
    caplog.clear()
    fakes.model(scorer="softmax").prepare_for_inference_(command())
    fakes.model(scorer="summed").prepare_for_inference_(command(unnormalized=True))
    assert not caplog.records
