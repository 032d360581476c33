"""Keeps pruned weights at zero during training; a scheme chooses them."""

import logging
import math
from typing import ClassVar, List, Optional

from torch import Tensor, nn

from .pruner import Pruner
from .schemes import PruningSchedule
from .weight_classes import AlreadyPruned, Masks, WeightClasses, class_namer, mask_size, named_parameters

logger = logging.getLogger(__name__)


class WeightPruner(Pruner):
    """Prunes single weights at the updates of a schedule and keeps them at zero.

    Args:
        schedule: the sparsity at each update.
        scheme: the name of the scheme that chooses the weights.
        exclude: patterns of the classes and parameters that are not pruned.
    """

    option: ClassVar[str] = "--prune-amount"
    noun: ClassVar[str] = "weights"

    def __init__(self, schedule: PruningSchedule, scheme: str, exclude: str) -> None:
        super().__init__(schedule, exclude)
        self.scheme = scheme

    def _classes_of(self, model: nn.Module) -> WeightClasses:
        return WeightClasses(named_parameters(model), class_namer(model), self.exclude)

    def _first_masks(self, update: int) -> Masks:
        """As in `Pruner`: the zeros of a pruned checkpoint, else the weights that the scheme chooses now."""
        # With --amp a run may stop after a step that was skipped for overflow, but pruned for the next update.
        count, following = (self.schedule.count(updates, self.classes.total) for updates in (update, update + 1))
        masks = self.classes.choose_masks(self.scheme, count, accept=(count, following))
        if isinstance(masks, AlreadyPruned):
            self._warn_of_zeros(masks.zeros, count, update)
            masks = self.classes.extend_masks(self.scheme, self.pruned, count)
        return masks

    def _later_masks(self, updates: int) -> Optional[Masks]:
        count = self.schedule.count(updates, self.classes.total)
        return self.classes.extend_masks(self.scheme, self.pruned, count) if count > self.count else None

    def _count(self, pruned: List[Tensor]) -> int:
        return mask_size(pruned)

    def _warn_of_zeros(self, already: int, count: int, update: int) -> None:
        """Warns that the model was pruned before and that some of its pruned weights will be trained again."""
        amount = math.ceil(1e4 * (already - 0.49) / self.classes.total) / 1e4  # rounds to `already` weights
        advice = f"a --prune-amount of {amount} or more with --prune-schedule one_shot --prune-start 0 keeps them"
        logger.warning(
            f"{already:,} of {self.classes.total:,} weights are zero, but the masks of update {update} prune "
            f"{count:,}: the other zeros may be trained again ({advice})"
        )

    def _label(self) -> str:
        return f"{self.noun}, {self.scheme}"
