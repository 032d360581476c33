"""Keeps what is pruned at zero during training: the masks, the weights, their gradients and the optimizer's state."""

import logging
from abc import ABC, abstractmethod
from typing import Any, ClassVar, List, Optional, Tuple

import torch
from fairseq.distributed import utils as distributed_utils
from torch import Tensor, nn

from ..errors import UserError
from .optimizer_state import SQUARES, keeps_zeros, masters_of, moments_of
from .schemes import PruningSchedule
from .weight_classes import Masks, mask_size

logger = logging.getLogger(__name__)

LIFTED = 1e-10
"""the squared gradient that optimizers store for a pruned weight, see `Pruner._lift_squares`"""
LIFT_EVERY = 100
"""updates between two liftings; the quickest decay in use, 0.9, then leaves 3e-15"""


class Pruner(ABC):
    """Prunes at the updates of a schedule, and keeps the pruned weights at zero.

    It has no file of its own: a checkpoint's zeros and its number of updates say what is pruned.

    Args:
        schedule: the share that is pruned at each update.
        exclude: patterns of the names that are not pruned.
    """

    option: ClassVar[str]
    """the option that sets the share"""
    noun: ClassVar[str]
    """what is pruned"""

    def __init__(self, schedule: PruningSchedule, exclude: str) -> None:
        self.schedule, self.exclude = schedule, exclude
        self.classes: Any = None  # WeightClasses or UnitClasses, from the first call of before_step on
        self.pruned: List[Tensor] = []  # masks of the weights
        self.kept_factor: List[Tensor] = []  # 0 where a weight is pruned, else 1
        self.count = 0  # how many weights or units are pruned
        self.optimizer: Any = None
        self.masters: List[Tuple[int, Tensor]] = []  # (index of the weight, its float32 copy)
        self.keeps_zeros = False  # whether the optimizer does, if mask_gradients masks its gradients
        self.lifted: Optional[int] = None  # the update of the last _lift_squares since the masks changed

    @property
    def share(self) -> float:
        """The share of the weights or units that is pruned."""
        return self.count / self.classes.total if self.classes is not None else 0.0

    def before_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        """Called before the forward pass of the next update. The first call of a run chooses the masks.

        Args:
            model: the model, wrapped or not.
            optimizer: fairseq's optimizer.
            update: how many updates were made.
        """
        if self.classes is not None:
            return
        model = _unwrapped(model)
        if _workers() > 1 and any(hasattr(parameter, "expert") for parameter in model.parameters()):
            raise UserError(
                f"{self.option} cannot be used with --base-layers on several workers, because each worker has its own "
                "experts: train on one worker, or prune the finished checkpoint (fairseq-bso prune)"
            )
        self.classes = self._classes_of(model)
        self.pruned = self.classes.empty_masks()
        masks = self._first_masks(update)
        if masks.thresholds is None:
            self._adopt(masks, optimizer, update, "found in the checkpoint")
        elif mask_size(masks.pruned) > 0:
            self._adopt(masks, optimizer, update, "pruned")
        self._apply(optimizer)

    @abstractmethod
    def _classes_of(self, model: nn.Module) -> Any:
        """The weights or units that may be pruned, in classes.

        Raises:
            UserError: there are none, or a pattern of ``exclude`` matches nothing.
        """

    @abstractmethod
    def _first_masks(self, update: int) -> Masks:
        """The masks of a run that starts or resumes after `update` updates."""

    @abstractmethod
    def _later_masks(self, updates: int) -> Optional[Masks]:
        """The masks after `updates` updates; None if they stay as they are."""

    @abstractmethod
    def _count(self, pruned: List[Tensor]) -> int:
        """How many weights or units the masks of the weights prune, as `classes.total` counts them."""

    def _label(self) -> str:
        """The name in the log of what is pruned."""
        return self.noun

    def mask_gradients(self) -> None:
        """Called after a backward pass: zeroes the gradients of pruned weights for clipping and momentum."""
        if self.classes is None or self.count == 0:
            return
        for weight, factor in zip(self.classes.weights, self.kept_factor):
            if weight.grad is None:
                continue
            if weight.grad.is_sparse:
                self.keeps_zeros = False
            else:
                weight.grad.mul_(factor)

    def after_step(self, optimizer: Any, updates: int) -> None:
        """Called after the optimizer step with number `updates`, counted from 1."""
        if self.classes is None:
            return
        masks = self._later_masks(updates)
        if masks is not None:
            self._adopt(masks, optimizer, updates, "pruned")
            self._apply(optimizer)
        elif not (self.keeps_zeros and optimizer is self.optimizer):
            self._apply(optimizer)
        if self.count and self.keeps_zeros and (self.lifted is None or updates - self.lifted >= LIFT_EVERY):
            self._lift_squares(optimizer)
            self.lifted = updates

    def write_zero_marks(self) -> None:
        """Called before a checkpoint is written: distinguishes pruned weights from weights that are zero by chance."""
        if self.classes is not None:
            self.classes.write_zero_marks(self.pruned)

    @torch.no_grad()
    def _adopt(self, masks: Masks, optimizer: Any, updates: int, event: str) -> None:
        """Sets the masks, masks the optimizer's state and logs the table; `event` begins the line."""
        self.pruned = _as_on_first_worker(masks.pruned)
        self.kept_factor = [_kept_factor(mask, weight) for mask, weight in zip(self.pruned, self.classes.weights)]
        self.count = self._count(self.pruned)
        self._find_masters(optimizer)
        for index, _, moments in moments_of(optimizer, self.classes.weights, self.masters):
            moments.mul_(self.kept_factor[index])
        self.lifted = None
        if distributed_utils.get_global_rank() == 0:
            table = self.classes.table(masks._replace(pruned=self.pruned))
            logger.info(f"{event} at update {updates}: {self.share:.2%} of the {self._label()}\n{table}")

    @torch.no_grad()
    def _apply(self, optimizer: Any) -> None:
        """Zeroes pruned weights in the model, and in the float32 weights from which a 16-bit model is copied."""
        if self.count == 0:
            return
        if optimizer is not self.optimizer:
            self._find_masters(optimizer)
        for weight, factor in zip(self.classes.weights, self.kept_factor):
            weight.mul_(factor)
        for index, master in self.masters:
            master.mul_(self.kept_factor[index])

    @torch.no_grad()
    def _lift_squares(self, optimizer: Any) -> None:
        """Sets the stored squared gradients of pruned weights to a small positive number.

        The optimizer divides the mean gradient, which is zero, by the root of the square, so the weights stay zero.
        On a CPU, MKL computes the root of zero thirty times as slowly as that of other numbers.
        """
        for index, name, moments in moments_of(optimizer, self.classes.weights, self.masters):
            if name in SQUARES and moments.device.type == "cpu":
                moments.masked_fill_(self.pruned[index], LIFTED)

    def _find_masters(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.masters = list(masters_of(optimizer, self.classes.weights))
        self.keeps_zeros = keeps_zeros(optimizer)


def _kept_factor(mask: Tensor, weight: Tensor) -> Tensor:
    """Zero where a weight is pruned, else one. A CPU multiplies fastest by numbers of the same type."""
    return (~mask).to(weight.dtype) if weight.device.type == "cpu" else ~mask


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of distributed training."""
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module  # type: ignore[assignment]
    return model


def _workers() -> int:
    """The number of processes that train together."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1


def _as_on_first_worker(masks: List[Tensor]) -> List[Tensor]:
    """The masks of the first worker. Rounding may break ties between equal weights differently on the others."""
    if _workers() == 1:
        return masks
    group = distributed_utils.get_data_parallel_group()
    together = torch.cat([mask.reshape(-1) for mask in masks]).to(torch.uint8)
    distributed_utils.broadcast(together, 0, group)
    parts = together.bool().split([mask.numel() for mask in masks])
    return [part.view(mask.shape).clone() for part, mask in zip(parts, masks)]
