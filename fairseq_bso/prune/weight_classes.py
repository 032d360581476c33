"""The weights of a model that may be pruned, by class, and the masks that prune them."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Callable, Collection, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from ..checkpoints import is_fast_path_copy
from ..errors import UserError
from ..unit_sets import Named
from .schemes import Choice, get_scheme

ZERO_BY_CHANCE = 0.01
"""Share of the weights. With more zeros a model counts as pruned; fewer may be the embedding of the padding symbol."""


class Masks(NamedTuple):
    """Which weights are pruned."""

    pruned: List[Tensor]
    """one bool tensor per weight, of its shape, True where it is pruned"""
    thresholds: Optional[List[float]]
    """of each class, from the scheme; None if the masks are the zeros of a checkpoint"""


@dataclass(frozen=True)
class AlreadyPruned:
    """The refusal to choose masks: more weights are zero than are to be pruned."""

    zeros: int
    """how many weights are zero"""


def class_by_module(name: str) -> str:
    """The class of a parameter of any model: its first numbered module (``decoder.layers.3``), else its own module.

    Torch's recurrent modules number their layers in the parameter's name. Each such layer is a class.
    """
    numbered = re.match(r"(.*?\.\d+)\.", name)
    if numbered:
        return numbered.group(1)
    module, _, own = name.rpartition(".")
    layer = re.fullmatch(r"(?:weight|bias)_\w+_l(\d+)(?:_reverse)?", own)
    return f"{module}.{layer.group(1)}" if layer else module or own


def class_namer(model: object) -> Callable[[str], str]:
    """The function from a parameter's name to its class. A model (or model class) may define it as ``weight_class``."""
    own = getattr(model, "weight_class", None)
    return (lambda name: own(name) or class_by_module(name)) if own else class_by_module


def named_parameters(model: nn.Module, frozen: bool = False) -> List[Named]:
    """The trained parameters in the model's order, each once with all its names; with `frozen` all parameters.

    The copies of weights that fairseq 0.12.2 keeps for a fast path are left out: no training changes them.
    """
    names: Dict[int, List[str]] = {}
    parameters: Dict[int, Tensor] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for own, parameter in module._parameters.items():
            name = f"{prefix}.{own}" if prefix else own
            if parameter is not None and (frozen or parameter.requires_grad) and not is_fast_path_copy(name):
                parameters[id(parameter)] = parameter
                names.setdefault(id(parameter), []).append(name)
    return [(tuple(names[key]), parameter) for key, parameter in parameters.items()]


def in_columns(rows: Sequence[Sequence[str]], texts: int) -> str:
    """Rows of cells as lines of text: the first `texts` columns are aligned on the left, the others on the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def mask_size(masks: Sequence[Tensor]) -> int:
    """How many weights the masks prune."""
    return sum(int(mask.sum()) for mask in masks)


class Exclusion:
    """The patterns of names that are not pruned, and which of them have matched nothing so far.

    Args:
        text: file-name patterns, separated by commas.
    """

    def __init__(self, text: str) -> None:
        self.patterns = [pattern.strip() for pattern in text.split(",") if pattern.strip()]
        self.unused = set(self.patterns)

    def matches(self, names: Sequence[str]) -> bool:
        """Whether some pattern matches one of the names."""
        matching = {pattern for pattern in self.patterns if any(fnmatchcase(name, pattern) for name in names)}
        self.unused -= matching
        return bool(matching)


class WeightClasses:
    """The matrices of a model, in classes. Vectors (biases, gains of normalisation) are never pruned.

    Args:
        parameters: with all their names.
        namer: maps a name to a class. A tied parameter belongs to one class, whose name joins those of all by ``+``.
        exclude: file-name patterns, separated by commas, of classes and parameters that are never pruned.
        option: the option that gave `exclude`, for the message.

    Raises:
        UserError: if a pattern matches nothing, or no weight is left to prune.
    """

    def __init__(
        self,
        parameters: Sequence[Named],
        namer: Callable[[str], str],
        exclude: str = "",
        option: str = "--prune-exclude",
    ) -> None:
        exclusion = Exclusion(exclude)
        self.untouched = 0  # numbers in parameters that are never pruned
        self.weights: List[Tensor] = []
        self.members: Dict[str, List[int]] = {}  # class -> indices of weights
        known: List[str] = []
        for names, parameter in parameters:
            kinds = list(dict.fromkeys(namer(name) for name in names))
            matrix = parameter.dim() > 1 and parameter.is_floating_point()
            known += [kind for kind in kinds if matrix and kind not in known]
            if not matrix or exclusion.matches([*kinds, *names, "+".join(kinds)]):
                self.untouched += parameter.numel()
                continue
            self.members.setdefault("+".join(kinds), []).append(len(self.weights))
            self.weights.append(parameter)
        if exclusion.unused:
            raise UserError(
                f"{option} {', '.join(sorted(exclusion.unused))} matches no weights of this model, whose classes are "
                f"{', '.join(known)}: name classes or parameters, where * stands for any characters"
            )
        if not self.weights:
            raise UserError("no weight can be pruned: all weights of this model are excluded, frozen or vectors")
        self.total = sum(weight.numel() for weight in self.weights)

    def choose_masks(self, scheme: str, count: int, accept: Collection[int] = ()) -> Union[Masks, AlreadyPruned]:
        """Chooses the masks of a model in which some weights may be zero already.

        Args:
            scheme: a registered name.
            count: how many weights to prune, those already pruned included.
            accept: if this many weights are zero, their zeros are the masks.

        Returns:
            Masks, or AlreadyPruned if the model was pruned and has more than `count` zeros. Up to ZERO_BY_CHANCE of
            the weights, zeros do not count as pruned.
        """
        zeros = self.zeros()
        already = mask_size(zeros)
        if already and already in accept:
            return Masks(zeros, None)
        if already > max(count, ZERO_BY_CHANCE * self.total):
            return AlreadyPruned(already)
        return self.extend_masks(scheme, zeros if already <= count else self.empty_masks(), count)

    def extend_masks(self, scheme: str, pruned: Sequence[Tensor], count: int) -> Masks:
        """The masks of `count` weights that a scheme chooses; those pruned already are among them."""
        if count == 0:
            return Masks(self.empty_masks(), [0.0] * len(self.members))
        choice: Choice = get_scheme(scheme)(self._by_class(self.weights), self._by_class(pruned), count)
        masks: Dict[int, Tensor] = {}
        for members, flat in zip(self.members.values(), choice.pruned):
            parts = flat.split([self.weights[index].numel() for index in members])
            for index, part in zip(members, parts):
                masks[index] = part.view(self.weights[index].shape).clone()
        return Masks([masks[index] for index in range(len(self.weights))], choice.thresholds)

    def _by_class(self, tensors: Sequence[Tensor]) -> List[Tensor]:
        """Tensors of the weights' shapes -> one flat tensor for each class."""
        return [
            torch.cat([tensors[index].detach().reshape(-1) for index in members]) for members in self.members.values()
        ]

    def zeros(self) -> List[Tensor]:
        """The masks that a checkpoint holds: True at positive zeros."""
        return [(weight.detach() == 0) & ~torch.signbit(weight.detach()) for weight in self.weights]

    def empty_masks(self) -> List[Tensor]:
        """Masks that prune nothing."""
        return [torch.zeros_like(weight, dtype=torch.bool) for weight in self.weights]

    def write_zero_marks(self, pruned: Sequence[Tensor]) -> None:
        """Writes pruned weights as +0.0 and other zero weights as -0.0, so that `zeros` finds exactly `pruned` again.

        Both zeros compute the same.
        """
        with torch.no_grad():
            for weight, mask in zip(self.weights, pruned):
                weight.masked_fill_((weight == 0) & ~mask, -0.0)
                weight.masked_fill_(mask, 0.0)

    def kept(self, pruned: Sequence[Tensor]) -> Dict[str, Tuple[int, int]]:
        """Class -> how many weights are kept, and how many it has."""
        counts = {}
        for name, members in self.members.items():
            size = sum(self.weights[index].numel() for index in members)
            counts[name] = size - mask_size([pruned[index] for index in members]), size
        return counts

    def table(self, masks: Masks) -> str:
        """Lines of text: the shapes, weights, kept weights, their share and the threshold of each class."""
        counts = self.kept(masks.pruned)
        limits = [f"{limit:.3g}" for limit in masks.thresholds] if masks.thresholds else ["-"] * len(counts)
        rows = [("class", "shapes", "weights", "kept", "share", "threshold")]
        for (name, (kept, size)), limit in zip(counts.items(), limits):
            shapes = " ".join("x".join(map(str, self.weights[index].shape)) for index in self.members[name])
            rows.append((name, shapes, f"{size:,}", f"{kept:,}", f"{kept / size:.2%}", limit))
        kept = sum(kept for kept, _ in counts.values())
        rows.append(("together", "", f"{self.total:,}", f"{kept:,}", f"{kept / self.total:.2%}", ""))
        size = self.untouched
        rows.append(("not pruned", "", f"{size:,}", f"{size:,}", f"{1:.2%}", ""))
        return in_columns(rows, texts=2)
