"""scripts/experiments/significance.py: statistics of sentences, the paired bootstrap test and means over seeds."""

import random

import numpy as np
import pytest
import significance
from parsing_example import CHAIN, SHORT, conllu, evaluate, treebank, write
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

WORDS = "the a cat dog sat ran on in mat house".split()


def sentences(seed, count=40):
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(3, 9))) for _ in range(count)]


def worsened(texts, share, seed):
    """The texts with some words replaced."""
    generator = random.Random(seed)
    return [
        " ".join(generator.choice(WORDS) if generator.random() < share else word for word in text.split())
        for text in texts
    ]


def counted(texts, references):
    return significance.bleu_statistics(texts, references, "none", False)


def test_summed_statistics_give_the_bleu_of_the_corpus():
    references = sentences(1)
    for texts in (worsened(references, 0.3, 2), ["", *references[1:]], sentences(3)):
        expected = BLEU(tokenize="none", force=True).corpus_score(texts, [references]).score
        assert significance.bleu(counted(texts, references).sum(0)) == pytest.approx(expected, abs=1e-9)


def test_lower_case_and_the_tokeniser_count():
    assert significance.bleu(
        significance.bleu_statistics(["A b c d."], ["a b c d ."], "13a", True)[0]
    ) == pytest.approx(100)
    assert significance.bleu(significance.bleu_statistics(["A b c d."], ["a b c d ."], "none", False)[0]) < 60


@pytest.mark.parametrize("better, worse", [(0.2, 0.4), (0.3, 0.32), (0.35, 0.3)])
def test_the_p_value_is_that_of_sacrebleu(better, worse, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", str(significance.SEED))
    references = sentences(4)
    baseline, system = worsened(references, worse, 5), worsened(references, better, 6)
    metric = {"BLEU": BLEU(tokenize="none", force=True)}
    _, expected = PairedTest([("one", baseline), ("two", system)], metric, [references], test_type="bs")()
    found = significance.paired_bootstrap(counted(baseline, references), counted(system, references), significance.bleu)
    assert found == pytest.approx(expected["BLEU"][1].p_value, abs=1e-9)


@pytest.mark.parametrize("lowercase", [False, True])
def test_chrf_is_that_of_sacrebleu(lowercase):
    """With outputs that are empty, that match nowhere, and that are shorter than six characters."""
    references = [*sentences(8), "A b", "xy", "Straße", "one"]
    outputs = [*worsened(references[:-4], 0.3, 9), "a B c", "", "strasse Z", "q"]
    for chosen in (slice(None), slice(-1, None), slice(-3, -2), slice(-4, -3)):
        expected = CHRF(lowercase=lowercase).corpus_score(outputs[chosen], [references[chosen]]).score
        counted_rows = significance.chrf_statistics(outputs[chosen], references[chosen], lowercase)
        assert significance.chrf(counted_rows.sum(0)) == pytest.approx(expected, abs=1e-9)


def test_equal_outputs_are_no_difference():
    statistics = counted(sentences(1), sentences(2))
    assert significance.paired_bootstrap(statistics, statistics, significance.bleu) == 1.0


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_better_sentences_are_no_evidence(count):
    """The randomization test of sacrebleu calls them significant (findings)."""
    references = sentences(10)
    baseline = [" ".join(["no", *text.split()[1:]]) for text in references]
    system = references[:count] + baseline[count:]
    for counts, score in (
        (counted, significance.bleu),
        (lambda *texts: significance.chrf_statistics(*texts, False), significance.chrf),
    ):
        assert significance.paired_bootstrap(counts(baseline, references), counts(system, references), score) > 0.05


def test_outputs_of_different_test_sets_are_refused():
    with pytest.raises(ValueError, match="3 and 2 sentences"):
        significance.paired_bootstrap(np.ones((3, 3)), np.ones((2, 3)), significance.labelled)


def test_the_same_outputs_from_every_seed_are_no_more_evidence_than_from_one():
    references = sentences(7)
    baseline = counted(worsened(references, 0.34, 8), references)
    system = counted(worsened(references, 0.3, 9), references)
    once = significance.paired_bootstrap(baseline, system, significance.unlabelled)
    several = significance.paired_bootstrap_over_seeds([baseline] * 5, [system] * 5, significance.unlabelled)
    assert several == once


def test_length_ratio():
    """The outputs have 2 + 4 words, the references 3 + 3."""
    assert significance.length_ratio(counted(["a b", "a b c d"], ["a b c", "a b c"]).sum(0)) == 1.0
    assert significance.length_ratio(counted([""], ["a b"]).sum(0)) == 0.0


def test_attachment_scores_are_those_of_evaluate(tmp_path):
    """Two of CHAIN's three words have the right head. One of these has another subtype of the relation, which counts as
    right. The only word of SHORT is right."""
    guessed = [("The", 2, "det"), ("cat", 3, "nsubj"), ("10 000", 0, "root")]
    other = [("The", 3, "det"), *guessed[1:]]
    gold = write(tmp_path / "gold", conllu(CHAIN, SHORT))
    predicted = write(tmp_path / "predicted", conllu(other, SHORT))
    trees = [[one.tree() for one in treebank.read_treebank(path).sentences] for path in (gold, predicted)]
    found = significance.attachment_statistics(
        *trees, lambda one, two: evaluate.label(one, False) == evaluate.label(two, False)
    )
    assert found.tolist() == [[3, 2, 2], [1, 1, 1]]
    expected = evaluate.evaluate(gold, predicted)["all"]
    assert significance.unlabelled(found.sum(0)) == pytest.approx(expected["uas"])
    assert significance.labelled(found.sum(0)) == pytest.approx(expected["las"])


def test_mean_and_spread():
    assert significance.mean_and_spread([4.0]) == (4.0, 0.0)
    assert significance.mean_and_spread([1.0, 2.0, 3.0]) == (2.0, 1.0)
