"""``--eval-length-beams``, compared with a count of the words in the generator's output."""

from argparse import Namespace

import pytest
import torch
from omegaconf import OmegaConf
from reference import fakes
from tiny_captures import SIZES

from fairseq_bso.compat import metrics
from fairseq_bso.cross_entropy.criterion import BlockwiseCrossEntropyCriterion
from fairseq_bso.decoding.length_ratios import beams_of
from fairseq_bso.errors import UserError
from fairseq_bso.tasks import BsoTranslationConfig, BsoTranslationTask

SOURCES = [[5, 6, 2], [7, 4, 4, 8, 9, 2], [6, 2]]
GOLDS = [[6, 5, 2], [4, 4, 7, 8, 9, 2], [6, 2]]
POSITIONS = {"max_source_positions": 64, "max_target_positions": 64, "dropout": 0.0}


def task_and_model(scorer="softmax", **options):
    task = BsoTranslationTask(BsoTranslationConfig(**options), fakes.dictionary(6), fakes.dictionary(6))
    torch.manual_seed(3)
    return task, task.build_model(OmegaConf.create({"_name": "bso_lstm", "scorer": scorer, **SIZES, **POSITIONS}))


def validated(task, model, *batches):
    """The logged values of a validation in which each batch is that of one worker."""
    criterion, outputs = BlockwiseCrossEntropyCriterion(task, False), []
    for sources, golds in batches:
        net_input, target = fakes.batch(model, sources, golds)
        sample = {"net_input": net_input, "target": target, "ntokens": sum(map(len, golds)), "id": target[:, 0]}
        outputs.append(task.valid_step(sample, model, criterion)[2])
    with metrics.aggregate(new_root=True) as logged:
        task.reduce_metrics(outputs, criterion)
    return logged.get_smoothed_values()


@pytest.mark.parametrize("scorer", ["softmax", "summed", "unnormalized"])
def test_ratios_are_those_of_the_generators_outputs(scorer):
    task, model = task_and_model(scorer, eval_length_beams="1, 3", eval_bleu_args='{"max_len_b": 7}')
    logged = validated(task, model, (SOURCES[:2], GOLDS[:2]), (SOURCES[2:], GOLDS[2:]))
    for beam in (1, 3):
        generator = task.build_generator([model], Namespace(beam=beam, max_len_b=7))
        net_input, _ = fakes.batch(model, SOURCES, GOLDS)
        found = generator.generate([model], {"net_input": net_input})
        words = sum(word != 2 for (best, *_) in found for word in best["tokens"].tolist())
        assert logged[f"length_ratio_beam{beam}"] == pytest.approx(words / 8, abs=1e-4)
    assert {name for name in logged if name.startswith("length")} == {"length_ratio_beam1", "length_ratio_beam3"}


def test_the_tasks_constraint_holds():
    task, model = task_and_model(eval_length_beams="2", successors="word_order")
    assert validated(task, model, (SOURCES, GOLDS))["length_ratio_beam2"] == 1


def test_without_beams_nothing_is_decoded_or_logged():
    task, model = task_and_model()
    assert task.length_generators == {}
    assert not [name for name in validated(task, model, (SOURCES, GOLDS)) if "length" in name]


@pytest.mark.parametrize("text", ["0", "5,-1", "five", "1,,5", "1.5", "5,5", ","])
def test_what_are_no_beams_is_refused(text):
    with pytest.raises(UserError, match=f"--eval-length-beams is '{text}', but must be different whole numbers"):
        task_and_model(eval_length_beams=text)


def test_beams():
    assert beams_of("") == beams_of(" ") == []
    assert beams_of("10, 1") == [10, 1]
