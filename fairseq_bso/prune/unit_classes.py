"""The units of a model that may be pruned, and the masks that prune all weights of a unit."""

from typing import Any, Collection, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..errors import UserError
from ..unit_sets import Named, UnitSet, indices, magnitudes, zero_units
from .schemes import PruningSchedule, smallest
from .weight_classes import Exclusion, Masks, in_columns


def unit_sets_of(model: Any, parameters: Sequence[Named], residual: bool, option: str) -> List[UnitSet]:
    """The units of a model, or of a model class. Raises UserError if it does not name its units."""
    name_units = getattr(model, "unit_sets", None)
    if name_units is None:
        kind = model if isinstance(model, type) else type(model)
        what = "a model that is not registered here" if model is None else kind.__name__
        raise UserError(
            f"{option} prunes the units of bso_lstm, but not of {what}: prune its weights with "
            f"{'--prune-amount' if option.startswith('--prune') else '--amount'}"
        )
    return name_units(parameters, residual)


class UnitClasses:
    """The units of a model, in the sets of its ``unit_sets``. The same share of every set is pruned.

    Args:
        parameters: of the model, with all their names.
        sets: its units.
        frozen: first names of parameters that are not trained; the sets that they belong to stay whole.
        exclude: file-name patterns, separated by commas, of sets that stay whole.
        option: the option that gave `exclude`, for the message.

    Raises:
        UserError: if a pattern matches nothing, or no unit is left to prune.
    """

    def __init__(
        self,
        parameters: Sequence[Named],
        sets: Sequence[UnitSet],
        frozen: Collection[str] = (),
        exclude: str = "",
        option: str = "--prune-exclude",
    ) -> None:
        exclusion = Exclusion(exclude)
        self.sets: List[UnitSet] = []
        for units in sets:
            is_excluded = exclusion.matches([units.name, *units.parts])
            if not is_excluded and not any(slice.parameter in frozen for slice in units.slices):
                self.sets.append(units)
        if exclusion.unused:
            raise UserError(
                f"{option} {', '.join(sorted(exclusion.unused))} matches no units of this model, which are "
                f"{', '.join(units.name for units in sets)}: name these or their parts, where * stands for any "
                "characters"
            )
        if not self.sets:
            raise UserError("no unit can be pruned: all units of this model are excluded or have frozen weights")
        touched = {slice.parameter for units in self.sets for slice in units.slices}
        self.parameters = {names[0]: tensor for names, tensor in parameters if names[0] in touched}
        self.weights: List[Tensor] = list(self.parameters.values())
        self.index = {name: index for index, name in enumerate(self.parameters)}
        self.total = sum(units.size for units in self.sets)

    def counts(self, schedule: PruningSchedule, update: int) -> List[int]:
        """How many units of every set are pruned after `update` updates."""
        return [schedule.count(update, units.size) for units in self.sets]

    def check_amount(self, amount: float, option: str) -> None:
        """Raises UserError if `amount` would leave a set without units."""
        for units in self.sets:
            if round(amount * units.size) == units.size:
                raise UserError(
                    f"{option} is {amount}, but would prune all {units.size} units of {units.name}: give at most "
                    f"{(units.size - 1) / units.size:.4g}, or exclude them"
                )

    def zeros(self) -> List[Tensor]:
        """The masks that a checkpoint holds: all weights of the units that are zero as a whole."""
        return self._masks([zero_units(units, self.parameters) for units in self.sets])

    def pruned_counts(self, pruned: Sequence[Tensor]) -> List[int]:
        """How many units of every set the masks prune."""
        return [int(mask.sum()) for mask in self._units(pruned)]

    def extend_masks(self, pruned: Sequence[Tensor], counts: Sequence[int]) -> Masks:
        """Prunes the units of the smallest magnitude, until `counts` of every set are pruned or more are already.

        Among equal magnitudes the first unit is pruned first. Units that are pruned already stay so.

        Returns:
            Masks; the threshold of a set is the largest magnitude that it prunes.
        """
        chosen, thresholds = [], []
        for units, before, count in zip(self.sets, self._units(pruned), counts):
            keys = magnitudes(units, self.parameters).masked_fill(before, -1.0)
            mask, threshold = smallest(keys, max(count, int(before.sum())))
            chosen.append(mask)
            thresholds.append(threshold)
        return Masks(self._masks(chosen), thresholds)

    def empty_masks(self) -> List[Tensor]:
        """Masks that prune nothing."""
        return [torch.zeros_like(weight, dtype=torch.bool) for weight in self.weights]

    def zeros_outside(self, pruned: Sequence[Tensor]) -> int:
        """How many weights of matrices are zero although their units are not pruned, padding embeddings included."""
        return sum(int(((weight == 0) & ~mask).sum()) for weight, mask in zip(self.weights, pruned) if weight.dim() > 1)

    def write_zero_marks(self, pruned: Sequence[Tensor]) -> None:
        """Writes the weights of pruned units as +0.0, as `WeightClasses.write_zero_marks` does."""
        with torch.no_grad():
            for weight, mask in zip(self.weights, pruned):
                weight.masked_fill_(mask, 0.0)

    def kept(self, pruned: Sequence[Tensor]) -> Dict[str, Tuple[int, int]]:
        """Set -> how many units are kept, and how many it has."""
        return {
            units.name: (units.size - count, units.size) for units, count in zip(self.sets, self.pruned_counts(pruned))
        }

    def table(self, masks: Masks) -> str:
        """Lines of text: the units, kept units, their share and the threshold of each set."""
        rows = [("units of", "units", "kept", "share", "threshold")]
        limits: Sequence[Optional[float]] = masks.thresholds or [None] * len(self.sets)
        kept = self.kept(masks.pruned)
        for (name, (left, size)), limit in zip(kept.items(), limits):
            shown = "-" if limit is None else f"{limit:.3g}"
            rows.append((name, f"{size:,}", f"{left:,}", f"{left / size:.2%}", shown))
        left = sum(count for count, _ in kept.values())
        rows.append(("together", f"{self.total:,}", f"{left:,}", f"{left / self.total:.2%}", ""))
        return in_columns(rows, texts=1)

    def _masks(self, chosen: Sequence[Tensor]) -> List[Tensor]:
        """Masks of the units of every set, (n,) each -> masks of the weights."""
        masks = self.empty_masks()
        for units, mask in zip(self.sets, chosen):
            for name, dimension, places in indices(units, mask):
                weight = masks[self.index[name]]
                weight.index_fill_(dimension, places.to(weight.device), True)
        return masks

    def _units(self, pruned: Sequence[Tensor]) -> List[Tensor]:
        """Masks of the weights -> masks of the units of every set, (n,) each."""
        kept = {name: ~mask for name, mask in zip(self.parameters, pruned)}
        return [zero_units(units, kept) for units in self.sets]
