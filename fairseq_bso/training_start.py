"""Checks as a training starts.

Warnings where fairseq resumes an old training and ignores the start that the command names, or compares validation
losses of another kind. Refusals of a checkpoint of another criterion, and of a `--best-checkpoint-metric` that no
validation will log.
"""

import functools
import logging
import os
from typing import Any, Callable, List, Optional

from fairseq import checkpoint_utils

from .checkpoints import config_of, load_state, option
from .errors import UserError

__all__ = ["comparing_losses", "refusing_metrics_that_are_not_logged", "warning_of_another_start"]

logger = logging.getLogger(__name__)


def warning_of_another_start(load_checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """fairseq's `load_checkpoint` with a warning where it ignores `--finetune-from-model`.

    fairseq silently resumes from checkpoint_last.pt of `--save-dir` if there is one. A command that is run again with
    another start then trains from the old one. Each checkpoint holds the option that it was trained with, so a training
    that resumes from its own start gets no warning. After a warning the option is set back to the old start. Later
    checkpoints then hold their real start.
    """

    @functools.wraps(load_checkpoint)
    def load(cfg, trainer, *args, **kwargs):
        start = getattr(cfg, "finetune_from_model", None)
        last = os.path.join(cfg.save_dir, f"checkpoint_last{trainer.checkpoint_suffix}.pt")
        if start and cfg.restore_file == "checkpoint_last.pt" and os.path.exists(last):
            _warn(cfg, start, last)
        return load_checkpoint(cfg, trainer, *args, **kwargs)

    return load


def _warn(cfg: Any, start: str, last: str) -> None:
    """Warns if the checkpoint `last` began from another start, and sets the option to that start."""
    try:
        state = load_state(last)
    except UserError:
        return  # fairseq cannot load it either, and says so
    before: Optional[str] = option(config_of(state, "checkpoint"), "finetune_from_model")
    if before and os.path.abspath(before) == os.path.abspath(start):
        return
    logger.warning(
        f"this training goes on from {last}, which began {f'from {before}' if before else 'without a start'}; "
        f"--finetune-from-model {start} is not read: give another --save-dir for another start"
    )
    cfg.finetune_from_model = before


def comparing_losses(load_checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """fairseq's `load_checkpoint` with a look at the criterion of the training that goes on.

    fairseq keeps the best validation loss so far, and compares it with those to come. After a change of the options
    that decide this loss, checkpoint_best.pt may stay the old one for ever. A criterion with such options has a
    function ``other_losses(before)``: the options of an earlier criterion -> those that were others, as text.

    Raises:
        UserError: the checkpoint is of another criterion, whose optimizer fairseq does not load.
    """

    @functools.wraps(load_checkpoint)
    def load(cfg, trainer, *args, **kwargs):
        other_losses = getattr(trainer.get_criterion(), "other_losses", None)
        path = _resumed(cfg, trainer)
        one_worker = getattr(trainer, "data_parallel_rank", 0) == 0  # the checkpoint may be large
        if other_losses and path and one_worker and not cfg.reset_optimizer:
            _compare_losses(cfg, trainer, path, other_losses)
        return load_checkpoint(cfg, trainer, *args, **kwargs)

    return load


def _resumed(cfg: Any, trainer: Any) -> Optional[str]:
    """The checkpoint with which fairseq goes on; None if a training begins."""
    suffix = trainer.checkpoint_suffix or ""
    path = cfg.restore_file.replace(".pt", f"{suffix}.pt")
    if cfg.restore_file == "checkpoint_last.pt":
        path = os.path.join(cfg.save_dir, path)
    return path if os.path.exists(path) else None


def _compare_losses(cfg: Any, trainer: Any, path: str, other_losses: Callable[[Any], List[str]]) -> None:
    """Refuses a checkpoint of another criterion, and warns of other options in the same."""
    try:
        state = load_state(path)
    except UserError:
        return  # fairseq cannot load it either, and says so
    name, history = type(trainer.get_criterion()).__name__, state.get("optimizer_history") or [{}]
    before = history[-1].get("criterion_name", name)
    if before != name:
        raise UserError(
            f"{path} is a checkpoint of {before}, but this training has {name}: give another --save-dir "
            f"and start with --finetune-from-model {path}, or add --reset-optimizer"
        )
    others = other_losses(config_of(state, "criterion"))
    task_before = option(config_of(state, "task"), "successors", "none")
    task_now = getattr(getattr(trainer.task, "cfg", None), "successors", "none")
    if task_before != task_now:
        others.append(f"--successors {task_before} (now {task_now})")
    if others and not cfg.reset_meters and cfg.best_checkpoint_metric != "bleu":
        logger.warning(
            f"{path} was trained with {', '.join(others)}: its validation losses cannot be compared with those to "
            "come, so that checkpoint_best.pt may stay the old one; add --reset-meters, or give another --save-dir"
        )


def refusing_metrics_that_are_not_logged(load_checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """fairseq's `load_checkpoint` with a check of ``--best-checkpoint-metric``.

    fairseq looks the metric up after the first validation, and ends with a KeyError. A criterion that does not log what
    others log has a function ``not_logged()``: name of a metric -> what to do about it. A task logs BLEU if asked to.

    Raises:
        UserError: the criterion or the task does not log the metric.
    """

    @functools.wraps(load_checkpoint)
    def load(cfg, trainer, *args, **kwargs):
        name, not_logged = cfg.best_checkpoint_metric, getattr(trainer.get_criterion(), "not_logged", dict)()
        if getattr(getattr(trainer.task, "cfg", None), "eval_bleu", None) is False:
            not_logged = {**not_logged, "bleu": "add --eval-bleu, or give loss"}
        if name in not_logged and not trainer.cfg.dataset.disable_validation:
            raise UserError(
                f"--best-checkpoint-metric is {name}, which is not logged in this training: {not_logged[name]}"
            )
        return load_checkpoint(cfg, trainer, *args, **kwargs)

    return load


# fairseq-train looks this name up in the module.
checkpoint_utils.load_checkpoint = refusing_metrics_that_are_not_logged(
    comparing_losses(warning_of_another_start(checkpoint_utils.load_checkpoint))
)
