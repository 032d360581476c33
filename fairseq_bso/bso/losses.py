"""Losses over what a training search found, and their registry (``--loss``).

A loss is a function of scores and costs:

    loss(found) -> () the sum over the batch, with gradient

``found`` is `OnBeam` for losses over the violation-reset search, and `NBestLists` for losses over finished hypotheses.
A new loss is a function and one line; ``over`` says what it looks at:

    @register_loss("contrast", over="beam")
    def contrast(found):
        return found.mean_over_rivals(torch.nn.functional.softplus(-found.gaps)).sum()
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, TypeVar

import torch
from torch import Tensor

from ..registry import Registry

__all__ = ["NBestLists", "Loss", "OnBeam", "get_loss", "loss_names", "register_loss"]

OVER = ("violators", "beam", "finished")
"""what a loss looks at: violators alone, all that is on the beam at violations and at the end, finished hypotheses"""


class OnBeam(NamedTuple):
    """The rivals of gold at E steps; up to W of one step compete with each other."""

    gaps: Tensor
    """(E, W) float, the score of gold minus that of a rival, with gradient"""
    costs: Tensor
    """(E, W) float, Delta of each rival; a constant"""
    alive: Tensor
    """(E, W) bool, whether there is such a rival"""
    margin: float

    def mean_over_rivals(self, values: Tensor) -> Tensor:
        """values (E, W) -> (E,)."""
        return values.masked_fill(~self.alive, 0).sum(1) / self.alive.sum(1).clamp(min=1)


class NBestLists(NamedTuple):
    """The n-best lists of B sentences: K finished hypotheses each. With ``--risk-reference`` gold is one of them."""

    scores: Tensor
    """(B, K) float, the sum of local scores, with gradient"""
    lengths: Tensor
    """(B, K) int64, the number of words including ``</s>``"""
    costs: Tensor
    """(B, K) float, a constant"""
    alive: Tensor
    """(B, K) bool, whether there is such a hypothesis"""
    alpha: float
    """the sharpness of the distribution over hypotheses"""


class Loss(NamedTuple):
    """A registered loss."""

    over: str
    """one of ``OVER``"""
    function: Callable[[Any], Tensor]


_LOSSES: Registry[Loss] = Registry("loss", "register_loss")
get_loss, loss_names = _LOSSES.get, _LOSSES.names
_LossT = TypeVar("_LossT", bound=Callable[[Any], Tensor])


def register_loss(name: str, over: str) -> Callable[[_LossT], _LossT]:
    """Decorator that registers a loss under `name`.

    Args:
        name: the value of ``--loss``.
        over: ``violators``, ``beam`` or ``finished``.

    Raises:
        TypeError: `name` is not a string.
        ValueError: another loss has this name, or ``over`` is unknown.
    """
    _LOSSES.check_free(name)
    if over not in OVER:
        raise ValueError(f"a loss looks at one of {', '.join(OVER)}; got {over!r}")

    def register(function: _LossT) -> _LossT:
        _LOSSES.add(name, Loss(over, function))
        return function

    return register


@register_loss("margin", over="violators")
def margin(found: OnBeam) -> Tensor:
    """``Delta * max(0, margin - gap)`` of every violator (Wiseman & Rush 2016, equation 5).

    A search over fewer words, or in low precision, may find a violation that exact scores do not confirm. Such a
    violation costs nothing.
    """
    return (found.costs * (found.margin - found.gaps).clamp(min=0)).masked_fill(~found.alive, 0).sum()


@register_loss("cost_margin", over="beam")
def cost_margin(found: OnBeam) -> Tensor:
    """``max over the beam of (margin * Delta - gap)``: the margin grows with the cost (Tsochantaridis et al. 2005)."""
    worst = (found.margin * found.costs - found.gaps).masked_fill(~found.alive, 0).clamp(min=0)
    return worst.amax(1).sum() if worst.numel() else worst.sum()


@register_loss("log_beam", over="beam")
def log_beam(found: OnBeam) -> Tensor:
    """``-log softmax`` of gold among all on the beam (Andor et al. 2016)."""
    rivals = (-found.gaps).masked_fill(~found.alive, -torch.inf)
    return torch.nn.functional.pad(rivals, (1, 0)).logsumexp(1).sum()


@register_loss("risk", over="finished")
def risk(found: NBestLists) -> Tensor:
    """The expected cost over finished hypotheses (Shen et al. 2016), whose scores are divided by their length.

    A sentence without a finished hypothesis has no risk.
    """
    logits = found.alpha * found.scores / found.lengths.clamp(min=1)
    weights = logits.masked_fill(~found.alive, torch.finfo(logits.dtype).min).softmax(1)
    return (weights * found.costs).masked_fill(~found.alive, 0).sum()
