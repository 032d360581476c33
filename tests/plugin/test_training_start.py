"""A training that goes on where another start was named says so; one that goes on from its own start does not."""

import logging
from argparse import Namespace

import pytest
import torch
from fairseq import checkpoint_utils
from omegaconf import OmegaConf
from reference import fakes

from fairseq_bso.bso.criterion import BeamSearchOptimizationCriterion
from fairseq_bso.errors import UserError
from fairseq_bso.training_start import (
    comparing_losses,
    refusing_metrics_that_are_not_logged,
    warning_of_another_start,
)

LAST = "checkpoint_last.pt"


def load(folder, start, restore=LAST):
    """Loads as fairseq-train does. Returns the option that is saved in the checkpoints to come."""
    cfg = OmegaConf.create({"finetune_from_model": start, "restore_file": restore, "save_dir": str(folder)})
    OmegaConf.set_struct(cfg, True)
    loaded = warning_of_another_start(lambda *arguments, **options: (arguments, options))
    trainer = Namespace(checkpoint_suffix="")
    assert loaded(cfg, trainer, disable_iterator_cache=True) == ((cfg, trainer), {"disable_iterator_cache": True})
    return cfg.finetune_from_model


def save(folder, start):
    """Writes a last checkpoint of a training with this start."""
    torch.save({"model": {}, "cfg": {"checkpoint": {"finetune_from_model": start}}}, folder / LAST)


@pytest.mark.parametrize("before, began", [("nll.pt", "from nll.pt"), (None, "without a start")])
def test_an_ignored_start_is_warned_of_at_every_restart(tmp_path, caplog, before, began):
    save(tmp_path, before)
    for _ in range(2):
        caplog.clear()
        saved = load(tmp_path, "other.pt")
        assert saved == before
        said = f"goes on from {tmp_path / LAST}, which began {began}; --finetune-from-model other.pt is not read"
        assert said in caplog.text
        save(tmp_path, saved)


def test_checkpoints_of_older_forms_are_warned_of(tmp_path, caplog):
    torch.save({"model": {}, "cfg": None, "args": Namespace(finetune_from_model="nll.pt")}, tmp_path / LAST)
    load(tmp_path, "nll.pt")
    assert not caplog.text
    load(tmp_path, "other.pt")
    assert "which began from nll.pt" in caplog.text


@pytest.mark.parametrize(
    "start, before, restore",
    [
        ("nll.pt", "nll.pt", LAST),  # the same command again
        ("nll.pt", "./nll.pt", LAST),
        (None, "nll.pt", LAST),
        ("nll.pt", "other.pt", "third.pt"),  # fairseq refuses these two options itself
    ],
)
def test_no_warning_where_the_start_is_the_old_one_or_none(tmp_path, caplog, start, before, restore):
    caplog.set_level(logging.WARNING)
    save(tmp_path, before)
    assert load(tmp_path, start, restore) == start
    assert not caplog.text


def test_no_warning_where_there_is_no_last_checkpoint_or_a_damaged_one(tmp_path, caplog):
    load(tmp_path, "nll.pt")
    (tmp_path / LAST).write_bytes(b"half")
    load(tmp_path, "nll.pt")  # fairseq says what is wrong
    assert not caplog.text


def test_fairseq_calls_it():
    inner = checkpoint_utils.load_checkpoint.__wrapped__.__wrapped__  # of the checks of the metric and of the losses
    assert inner.__wrapped__.__module__ == "fairseq.checkpoint_utils"


def bso(nll_weight, **options):
    """The criterion with so much cross entropy."""
    return BeamSearchOptimizationCriterion(
        fakes.FakeTask(), 3, 2, 0, "zero_one", 1.0, nll_weight, "model", 2, sentence_avg=False, **options
    )


def start(metric, criterion, validates=True, **options):
    """Starts a training that keeps the checkpoints that are best by a metric, with these options of its task."""
    dataset = Namespace(disable_validation=not validates)
    trainer = Namespace(cfg=Namespace(dataset=dataset), get_criterion=lambda: criterion)
    trainer.task = Namespace(cfg=Namespace(**options))
    start = refusing_metrics_that_are_not_logged(lambda cfg, trainer: "started")
    assert start(Namespace(best_checkpoint_metric=metric), trainer) == "started"


@pytest.mark.parametrize(
    "metric, weight, advice", [("ppl", 0.0, "add --nll-weight, or give loss"), ("accuracy", 0.5, "give loss")]
)
def test_a_best_metric_that_is_never_logged_is_refused(metric, weight, advice):
    criterion = bso(weight)
    with pytest.raises(UserError, match=f"--best-checkpoint-metric is {metric}, which is not logged .*: {advice}"):
        start(metric, criterion)
    start(metric, criterion, validates=False)


VIOLATIONS, FINISHED = ["violations_per_token", "segment_length", "gold_gap"], ["hypotheses", "best_cost"]


@pytest.mark.parametrize(
    "options, logged, others",
    [
        ({"loss": "margin"}, ["margin_loss", *VIOLATIONS], ["search_loss", *FINISHED, "oracles"]),
        ({"loss": "log_beam"}, ["search_loss", *VIOLATIONS], ["margin_loss", *FINISHED, "oracle_cost"]),
        ({"loss": "margin", "target": "oracle"}, ["margin_loss", "oracles", "oracle_cost"], ["best_cost"]),
        ({"loss": "risk"}, ["search_loss", *FINISHED], ["margin_loss", *VIOLATIONS, "oracle_cost"]),
    ],
)
def test_a_best_metric_of_another_loss_or_target_is_refused(options, logged, others):
    criterion = bso(0.0, **options)
    for metric in logged:
        start(metric, criterion)
    for metric in others:
        with pytest.raises(UserError, match=f"metric is {metric}, .*: (--loss {options['loss']} logs|only --target)"):
            start(metric, criterion)


def test_bleu_as_the_best_metric_is_refused_where_no_validation_computes_it():
    with pytest.raises(UserError, match="metric is bleu, which is not logged in this training: add --eval-bleu"):
        start("bleu", object(), eval_bleu=False)
    start("bleu", object(), eval_bleu=True)


def test_a_best_metric_that_is_logged_or_unknown_is_left_to_fairseq():
    for metric in ("loss", "nll_loss", "ppl", "bleu", "own"):
        start(metric, bso(0.5))
    start("ppl", object())  # a criterion of fairseq


NAME = BeamSearchOptimizationCriterion.__name__


def resume(folder, criterion, before, name=NAME, successors="none", restore=LAST, **options):
    """Resumes a training of a criterion with the options `before`."""
    config = {"criterion": {"_name": "b", **before}, "task": {"successors": successors}}
    path = folder / restore.replace(".pt", "-shard0.pt")
    torch.save({"model": {}, "cfg": config, "optimizer_history": [{"criterion_name": name}]}, path)
    trainer = Namespace(checkpoint_suffix="-shard0", get_criterion=lambda: criterion)
    trainer.task = Namespace(cfg=Namespace(successors="word_order"))
    given = {"reset_optimizer": False, "reset_meters": False, "best_checkpoint_metric": "loss", **options}
    restore_file = restore if restore == LAST else str(folder / restore)
    cfg = Namespace(restore_file=restore_file, save_dir=str(folder), **given)
    assert comparing_losses(lambda cfg, trainer: "resumed")(cfg, trainer) == "resumed"


OLD = {"loss": "risk", "train_beam": 5, "margin": 1, "nll_weight": 0.0, "sentence_avg": "${optimization.sentence_avg}"}


@pytest.mark.parametrize("restore", [LAST, "other.pt"])
def test_losses_that_cannot_be_compared_are_warned_of(tmp_path, caplog, restore):
    resume(tmp_path, bso(0.5, search_words=0), OLD, restore=restore)
    said = "--loss risk (now margin), --train-beam 5 (now 3), --nll-weight 0.0 (now 0.5), --search-words 16 (now 0), "
    said += "--successors none (now word_order): its validation losses cannot be compared with those to come"
    assert said in caplog.text


@pytest.mark.parametrize(
    "before, options",
    [
        ({"train_beam": 3, "initial_beam": 2, "mixed_beams": True}, {}),  # the loss of validation is the same
        (OLD, {"reset_meters": True}),
        (OLD, {"reset_optimizer": True}),
        (OLD, {"best_checkpoint_metric": "bleu"}),
    ],
)
def test_no_warning_where_the_best_loss_is_of_the_same_kind_or_forgotten(tmp_path, caplog, before, options):
    resume(tmp_path, bso(0.0), before, successors="word_order", **options)
    assert not caplog.text


def test_the_beams_of_the_default_are_compared(tmp_path, caplog):
    """0 stands for 2, or for 5 with --loss risk."""
    criterion = BeamSearchOptimizationCriterion(
        fakes.FakeTask(), 0, 2, 0, "zero_one", 1.0, 0.0, "model", 2, False, loss="risk"
    )
    resume(tmp_path, criterion, {"loss": "risk", "train_beam": 5}, successors="word_order")
    assert not caplog.text
    resume(tmp_path, criterion, {"loss": "own"}, successors="word_order")
    assert "--loss own (now risk), --train-beam 2 (now 5):" in caplog.text


def test_a_checkpoint_of_another_criterion_is_refused(tmp_path):
    """fairseq would end with an AssertionError."""
    with pytest.raises(UserError, match="is a checkpoint of CrossEntropyCriterion, but .* --finetune-from-model"):
        resume(tmp_path, bso(0.0), {}, name="CrossEntropyCriterion")
    resume(tmp_path, bso(0.0), {}, name="CrossEntropyCriterion", reset_optimizer=True)
