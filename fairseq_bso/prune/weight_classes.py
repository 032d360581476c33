"""The weights of a model that pruning may take, by class: fairseq models and checkpoints in, ``schemes`` out."""

import re
from fnmatch import fnmatchcase
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ..errors import BadInput
from .schemes import Choice, get_scheme

ZERO_BY_CHANCE = 0.01
"""Share of the weights: if more are zero, they were pruned; if fewer, it may be the embedding of the padding."""

Named = Tuple[Tuple[str, ...], Tensor]
"""A parameter and all its names: tied ones have several."""


def class_by_module(name: str) -> str:
    """The class of a parameter of any model: its first numbered module (``decoder.layers.3``), else its own module; the
    layers of torch's recurrent modules, which are numbered in the parameter's name, are classes too."""
    numbered = re.match(r"(.*?\.\d+)\.", name)
    if numbered:
        return numbered.group(1)
    module, _, own = name.rpartition(".")
    layer = re.fullmatch(r"(?:weight|bias)_\w+_l(\d+)(?:_reverse)?", own)
    return f"{module}.{layer.group(1)}" if layer else module or own


def class_namer(model: object) -> Callable[[str], str]:
    """The function from a parameter's name to its class, for a model or its class: its own, else by module."""
    own = getattr(model, "weight_class", None)
    return (lambda name: own(name) or class_by_module(name)) if own else class_by_module


def named_parameters(model: nn.Module) -> List[Named]:
    """The parameters that are trained, each once with all its names, in the model's order."""
    names: Dict[int, List[str]] = {}
    parameters: Dict[int, Tensor] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for own, parameter in module._parameters.items():
            if parameter is not None and parameter.requires_grad:
                parameters[id(parameter)] = parameter
                names.setdefault(id(parameter), []).append(f"{prefix}.{own}" if prefix else own)
    return [(tuple(names[key]), parameter) for key, parameter in parameters.items()]


class WeightClasses:
    """The matrices among parameters, in classes. Vectors (biases, gains of normalisation) are never pruned.

    Args:
        parameters: with all their names.
        namer: from a name to a class. A tied parameter is in one class, with the names of all joined by ``+``.
        exclude: patterns as of file names, separated by commas, of classes and parameters that stay whole.
        option: by which the user gave them, for the message.

    Raises:
        BadInput: if a pattern matches nothing, or nothing is left to prune.
    """

    def __init__(
        self,
        parameters: Sequence[Named],
        namer: Callable[[str], str],
        exclude: str = "",
        option: str = "--prune-exclude",
    ) -> None:
        patterns = [pattern.strip() for pattern in exclude.split(",") if pattern.strip()]
        unused, self.untouched = set(patterns), 0
        self.weights: List[Tensor] = []
        self.members: Dict[str, List[int]] = {}  # class -> places in weights
        known: List[str] = []
        for names, parameter in parameters:
            kinds = list(dict.fromkeys(namer(name) for name in names))
            matrix = parameter.dim() > 1 and parameter.is_floating_point()
            words = [*kinds, *names, "+".join(kinds)] if matrix else []
            known += [kind for kind in kinds if matrix and kind not in known]
            hits = {pattern for pattern in patterns if any(fnmatchcase(word, pattern) for word in words)}
            unused -= hits
            if hits or not matrix:
                self.untouched += parameter.numel()
                continue
            self.members.setdefault("+".join(kinds), []).append(len(self.weights))
            self.weights.append(parameter)
        if unused:
            raise BadInput(
                f"{option} {', '.join(sorted(unused))} matches no weights of this model; its classes are: "
                f"{', '.join(known)} (names of parameters can be given too, and * in a name)"
            )
        if not self.weights:
            raise BadInput("there is nothing to prune: all weights of this model are excluded, frozen or vectors")
        self.total = sum(weight.numel() for weight in self.weights)

    def choose(self, scheme: str, gone: Sequence[Tensor], count: int) -> Tuple[List[Tensor], List[float]]:
        """What is to go, for each weight a bool tensor of its shape, and a threshold for each class.

        Args:
            scheme: a registered name.
            gone: what went before, of the shapes of the weights.
            count: how many are to be gone.
        """
        choice: Choice = get_scheme(scheme)(self._by_class(self.weights), self._by_class(gone), count)
        masks: List[Optional[Tensor]] = [None] * len(self.weights)
        for places, flat in zip(self.members.values(), choice.gone):
            parts = flat.split([self.weights[place].numel() for place in places])
            for place, part in zip(places, parts):
                masks[place] = part.view(self.weights[place].shape).clone()
        return [mask for mask in masks if mask is not None], choice.thresholds

    def _by_class(self, tensors: Sequence[Tensor]) -> List[Tensor]:
        """Tensors of the weights' shapes -> one flat tensor for each class."""
        return [
            torch.cat([tensors[place].detach().reshape(-1) for place in places]) for places in self.members.values()
        ]

    def zeros(self) -> List[Tensor]:
        """What a checkpoint says is gone: positive zeros, for each weight a bool tensor of its shape."""
        return [(weight.detach() == 0) & ~torch.signbit(weight.detach()) for weight in self.weights]

    def nothing(self) -> List[Tensor]:
        """As `zeros`, with all False."""
        return [torch.zeros_like(weight, dtype=torch.bool) for weight in self.weights]

    def mark(self, gone: Sequence[Tensor]) -> None:
        """Makes what is gone positive zeros and any other zero a negative one, which computes the same: so `zeros`
        finds exactly `gone` again."""
        with torch.no_grad():
            for weight, mask in zip(self.weights, gone):
                weight.masked_fill_((weight == 0) & ~mask, -0.0)
                weight.masked_fill_(mask, 0.0)

    def kept(self, gone: Sequence[Tensor]) -> Dict[str, Tuple[int, int]]:
        """For each class, how many weights are kept and of how many."""
        kept = {}
        for name, places in self.members.items():
            size = sum(self.weights[place].numel() for place in places)
            kept[name] = size - sum(int(gone[place].sum()) for place in places), size
        return kept

    def table(self, gone: Sequence[Tensor], thresholds: Optional[Sequence[float]]) -> str:
        """Class, shapes, weights kept, their share and the threshold, as lines of text."""
        counts = self.kept(gone)
        limits = [f"{limit:.3g}" for limit in thresholds] if thresholds else ["-"] * len(counts)
        rows = [("class", "shapes", "weights", "kept", "share", "threshold")]
        for (name, (kept, size)), limit in zip(counts.items(), limits):
            shapes = " ".join("x".join(map(str, self.weights[place].shape)) for place in self.members[name])
            rows.append((name, shapes, f"{size:,}", f"{kept:,}", f"{kept / size:.2%}", limit))
        kept = sum(kept for kept, _ in counts.values())
        rows.append(("together", "", f"{self.total:,}", f"{kept:,}", f"{kept / self.total:.2%}", ""))
        size = self.untouched
        rows.append(("not pruned", "", f"{size:,}", f"{size:,}", f"{1:.2%}", ""))
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = []
        for row in rows:
            cells = [
                cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths))
            ]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)
