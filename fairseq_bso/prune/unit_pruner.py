"""Keeps pruned units at zero during training: all rows and columns of a unit, and its biases."""

import logging
from typing import ClassVar, List, Optional

from torch import Tensor, nn

from .pruner import Pruner
from .schemes import PruningSchedule
from .unit_classes import UnitClasses, unit_sets_of
from .weight_classes import ZERO_BY_CHANCE, Masks, mask_size, named_parameters

logger = logging.getLogger(__name__)


class UnitPruner(Pruner):
    """Prunes whole units at the updates of a schedule, the same share of every layer, and keeps them at zero.

    The units of a checkpoint whose weights are all zero are pruned.

    Args:
        schedule: the share of pruned units at each update.
        exclude: patterns of the sets of units that are not pruned.
    """

    option: ClassVar[str] = "--prune-units"
    noun: ClassVar[str] = "units"

    def __init__(self, schedule: PruningSchedule, exclude: str) -> None:
        super().__init__(schedule, exclude)
        self.reached: Optional[List[int]] = None  # the counts of the last _later_masks

    def _classes_of(self, model: nn.Module) -> UnitClasses:
        parameters = named_parameters(model, frozen=True)
        sets = unit_sets_of(model, parameters, bool(getattr(model, "residual", False)), self.option)
        frozen = {names[0] for names, parameter in parameters if not parameter.requires_grad}
        classes = UnitClasses(parameters, sets, frozen, self.exclude)
        classes.check_amount(self.schedule.amount, self.option)
        return classes

    def _first_masks(self, update: int) -> Masks:
        """As in `Pruner`: the zero units of a pruned checkpoint, else the units that the schedule prunes now.

        Warns of units that are zero although the schedule does not prune them yet, and of other zero weights.
        """
        zeros = self.classes.zeros()
        before, counts = self.classes.pruned_counts(zeros), self.classes.counts(self.schedule, update)
        # With --amp a run may stop after a step that was skipped for overflow, but pruned for the next update.
        following = self.classes.counts(self.schedule, update + 1)
        more = [units.name for units, have, want in zip(self.classes.sets, before, following) if have > want]
        if more:
            logger.warning(
                f"more units are zero than update {update} prunes, and stay so: those of {', '.join(more)} (start from "
                f"the checkpoint before pruning, or give a larger {self.option})"
            )
        found = sum(before) > 0 and all(have >= want for have, want in zip(before, counts))
        masks = Masks(zeros, None) if found else self.classes.extend_masks(zeros, counts)
        others = self.classes.zeros_outside(masks.pruned)
        if others > ZERO_BY_CHANCE * sum(weight.numel() for weight in self.classes.weights):
            logger.warning(
                f"{others:,} weights outside the pruned units are zero, and may be trained again: prune units first, "
                "then weights"
            )
        return masks

    def _later_masks(self, updates: int) -> Optional[Masks]:
        counts = self.classes.counts(self.schedule, updates)
        if counts == self.reached:
            return None
        self.reached = counts
        masks = self.classes.extend_masks(self.pruned, counts)
        return masks if mask_size(masks.pruned) > mask_size(self.pruned) else None

    def _count(self, pruned: List[Tensor]) -> int:
        return sum(self.classes.pruned_counts(pruned))
