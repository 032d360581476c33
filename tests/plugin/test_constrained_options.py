"""Options of fairseq-generate under a constraint: which are refused, and what lengths and their limits do."""

from argparse import Namespace

import pytest
import torch
from fairseq.data import LanguagePairDataset
from reference import fakes

from fairseq_bso.errors import UserError
from fairseq_bso.tasks import BsoTranslationConfig, BsoTranslationTask

END = 2


def constrained_task(successors):
    """The task under a constraint, with the labels of `arc_standard`."""
    words = fakes.dictionary(6)
    words.add_symbol("@L_a")
    return BsoTranslationTask(BsoTranslationConfig(successors=successors), words, words)


@pytest.mark.parametrize("successors", ["word_order", "arc_standard"])
@pytest.mark.parametrize(
    "options, message",
    [
        ({"min_len": 3}, "--min-len is 3, but --successors .* decides how long an output is: leave out --min-len"),
        (
            {"no_repeat_ngram_size": 2},
            "--no-repeat-ngram-size is 2, but --successors .* decides which words an output holds, repeated ones too: "
            "leave out --no-repeat-ngram-size",
        ),
        ({"sampling": True, "sampling_topp": 0.9}, "--sampling-topp cannot be used with --successors"),
        ({"match_source_len": True}, "--match-source-len cannot be used with --successors"),
        ({"print_alignment": "hard"}, "--print-alignment cannot be used with --successors"),
        ({"constraints": "ordered"}, "--constraints cannot be used with --successors"),
        ({"lm_path": "lm.pt"}, "--lm-path cannot be used with --successors"),
    ],
)
def test_what_a_constraint_gives_no_meaning_is_refused(successors, options, message):
    task = constrained_task(successors)
    with pytest.raises(UserError, match=message):
        task.build_generator([fakes.model(0, task, scorer="softmax")], Namespace(**options))


@pytest.mark.parametrize("successors", ["none", "word_order"])
@pytest.mark.parametrize(
    "options, message",
    [
        ({"beam": 0}, "--beam is 0, but must be a whole number above 0"),
        ({"beam": 2.5}, "--beam is 2.5, but must be a whole number above 0"),  # of --eval-bleu-args
        ({"nbest": 0}, "--nbest is 0, but must be a whole number above 0"),
        ({"temperature": 0.0}, "--temperature is 0.0, but must be above 0, and finite"),
        (
            {"print_step": True},
            "--print-step has no meaning in --task bso_translation, which decodes from left to right",
        ),
        (
            {"iter_decode_max_iter": 3, "iter_decode_with_beam": 2},
            "--iter-decode-max-iter, --iter-decode-with-beam has no meaning .*: leave it out",
        ),
    ],
)
def test_what_has_no_meaning_in_any_search_from_left_to_right_is_refused(successors, options, message):
    task = constrained_task(successors)
    with pytest.raises(UserError, match=message):
        task.build_generator([fakes.model(0, task, scorer="softmax")], Namespace(**options))


def test_unknown_words_cannot_be_replaced_by_alignments_that_a_parse_has_not():
    task = constrained_task("arc_standard")
    with pytest.raises(UserError, match="--replace-unk cannot be used with --successors"):
        task.build_generator([fakes.model(0, task, scorer="softmax")], Namespace(replace_unk=""))


@pytest.mark.parametrize("successors", ["word_order", "arc_standard"])
def test_a_length_penalty_divides_the_scores_of_outputs_of_one_length(successors):
    """Outputs of a sentence have one length, so that the penalty ranks them as before, as in the stock programs."""
    task, found = constrained_task(successors), {}
    models = [fakes.model(4, task, scorer="softmax")]
    net_input, _ = fakes.batch(models[0], [[4, 5, 4, 6, END], [7, 8, 9, END]], [[END]] * 2)
    for lenpen in (0.0, 1.0, 2.0):
        generator = task.build_generator(models, Namespace(beam=4, lenpen=lenpen))
        found[lenpen] = generator.generate(models, {"net_input": net_input})
    for plain, *penalized in zip(*found.values()):
        assert len({len(one["tokens"]) for one in plain}) == 1 < len(plain)
        for lenpen, ones in zip((1.0, 2.0), penalized):
            assert [one["tokens"].tolist() for one in ones] == [one["tokens"].tolist() for one in plain]
            divided = [one["score"].item() / len(one["tokens"]) ** lenpen for one in plain]
            assert [one["score"].item() for one in ones] == pytest.approx(divided, rel=1e-5)


def test_a_limit_of_length_under_a_constraint_that_has_one_is_warned_of(caplog):
    task = constrained_task("word_order")
    models = [fakes.model(0, task, scorer="softmax")]
    task.build_generator(models, Namespace(max_len_a=0, max_len_b=200, min_len=1))
    assert not caplog.text
    task.build_generator(models, Namespace(max_len_b=5))
    assert "word_order bounds the length: --max-len-a and --max-len-b have no effect" in caplog.text


def test_sentences_whose_output_is_too_long_are_skipped_if_asked(caplog):
    task = constrained_task("word_order")
    words = [torch.tensor([*range(4, 4 + count), END]) for count in (3, 4, 0, 5, 3)]
    sizes = [len(sentence) for sentence in words]
    data = LanguagePairDataset(words, sizes, task.source_dictionary, tgt_dict=task.target_dictionary)
    indices, positions = data.ordered_indices(), (64, 4)
    kept = task.filter_indices_by_size(indices, data, positions, ignore_invalid_inputs=True)
    assert kept.tolist() == [index for index in indices.tolist() if index in (0, 2, 4)]
    assert "2 sentences skipped" in caplog.text and "[1, 3]" in caplog.text
    assert len(task.filter_indices_by_size(indices, data, positions)) == 5
