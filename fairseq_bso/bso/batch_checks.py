"""Checks of every batch: its target, the number of updates that the beam depends on, and the costs."""

from typing import Any, Dict

import torch
from torch import Tensor

from ..errors import UserError, counted
from ..models.any_model import updates_made
from ..subsets import target_of
from .curriculum import BeamCurriculum


def beam_of_update(curriculum: BeamCurriculum, model: Any) -> int:
    """The beam of a batch.

    Raises:
        UserError: if it depends on the number of updates, which the model does not note.
    """
    if not model.training or not curriculum.changes:
        return curriculum.final
    return curriculum.beam(updates_made(model, "--updates-per-beam and --mixed-beams"))


def checked_target(sample: Dict[str, Any], padding: int, end: int) -> Tensor:
    """The target (B, T).

    Raises:
        UserError: if the batch has no valid gold words.
    """
    target = target_of(sample, "beam_search_optimization")
    real = target.ne(padding)  # (B, T)
    lengths = real.sum(1)  # (B,)
    contiguous = real == (lengths.unsqueeze(1) > torch.arange(target.size(1), device=target.device))
    ends = target.gather(1, (lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1) == end  # (B,)
    if bool(contiguous.all() & (lengths > 1).all() & ends.all()):
        return target
    for faulty, reason in (
        (lengths <= 1, "is empty: correct or remove this pair and run fairseq-preprocess again"),
        (~real[:, 0], "is padded on the left: leave --left-pad-target False"),
        (~contiguous.all(1), "holds the padding symbol, which no word can be: run fairseq-preprocess on clean text"),
        (~ends, "does not end in </s>, at which hypotheses end: use a task that puts nothing after </s>"),
    ):
        if bool(faulty.any()):
            which = int(faulty.nonzero()[0])
            raise UserError(f"the target of sentence {int(sample['id'][which])} (counted from 0) {reason}")
    return target


def checked_costs(costs: Tensor, violations: Tensor, delta: str) -> Tensor:
    """The costs (M,), without gradient.

    Args:
        costs: the result of a Delta.
        violations: (M,) anything of M violations.
        delta: the value of ``--delta``.

    Raises:
        UserError: if there is not one cost for each violation. A broadcast would silently make another loss.
    """
    if costs.shape != violations.shape:
        raise UserError(
            f"--delta {delta} returned a tensor of shape {tuple(costs.shape)} for "
            f"{counted(len(violations), 'violation')}, but must return one cost for each: {tuple(violations.shape)}"
        )
    return costs.detach()
