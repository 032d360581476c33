"""What optimizers hold of a parameter, for pruning: its float32 copy, and what is remembered of its gradients."""

from typing import Any, Dict, Iterator, List, Tuple

import torch
from torch import Tensor

KEEP_ZEROS = {
    "torch": {"Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD"},
    "fairseq": {"Adafactor", "Adam", "Adamax", "NAG"},
}
"""Optimizers, by package, that leave a weight at zero as long as it, its gradients and their mean are zero."""
SQUARES = {"exp_avg_sq", "square_avg", "sum"}  # what these remember of squared gradients, to divide by their root


def masters_of(optimizer: Any, weights: List[Tensor]) -> Iterator[Tuple[int, Tensor]]:
    """(place of a weight, the float32 copy that the optimizer steps on), for fairseq's FP16Optimizer."""
    copies = getattr(optimizer, "fp32_params", None)
    if copies is None:
        return
    places = {id(weight): place for place, weight in enumerate(weights)}
    trained = [one for one in optimizer.fp16_params if one.requires_grad]
    if isinstance(copies, (list, tuple)):
        for one, copy in zip(trained, copies):
            if id(one) in places:
                yield places[id(one)], copy.data
        return
    flats: Dict[Any, Tensor] = copies if isinstance(copies, dict) else {None: copies}
    for device, flat in flats.items():
        start = 0
        for one in trained:
            if len(flats) > 1 and one.device.index != device:
                continue
            if id(one) in places:
                yield places[id(one)], flat.data[start : start + one.numel()].view(one.shape)
            start += one.numel()


def moments_of(
    optimizer: Any, weights: List[Tensor], masters: List[Tuple[int, Tensor]]
) -> Iterator[Tuple[int, str, Tensor]]:
    """(place of a weight, a name, something of its shape that the optimizer remembers of it under this name).

    Left alone, the momentum of what is gone would decay to numbers so small that processors are slow with them.
    """
    stepped = {one.data_ptr(): (place, one) for place, one in [*enumerate(weights), *masters]}
    for inner in _torch_optimizers(optimizer):
        for parameter, state in getattr(inner, "state", {}).items():
            alike = {name: one for name, one in state.items() if torch.is_tensor(one) and one.shape == parameter.shape}
            if parameter.dim() > 1 and parameter.data_ptr() in stepped:
                yield from ((stepped[parameter.data_ptr()][0], *one) for one in alike.items())
            elif parameter.dim() == 1:  # it may be all parameters in one, of which each is a slice
                for address, (place, one) in stepped.items():
                    start = (address - parameter.data_ptr()) // parameter.element_size()
                    if 0 <= start <= parameter.numel() - one.numel():
                        slices = ((name, flat[start : start + one.numel()]) for name, flat in alike.items())
                        yield from ((place, name, part.view(one.shape)) for name, part in slices)


def keeps_zeros(optimizer: Any) -> bool:
    """Whether one of fairseq's optimizers leaves weights at zero whose gradients and moments are zero."""
    kinds = map(type, _torch_optimizers(optimizer))
    return all(kind.__name__ in KEEP_ZEROS.get(kind.__module__.partition(".")[0], ()) for kind in kinds)


def _torch_optimizers(optimizer: Any) -> Iterator[Any]:
    """The torch optimizers inside one of fairseq's."""
    inner = getattr(optimizer, "optimizer", optimizer)
    if hasattr(inner, "optimizers"):
        for one in inner.optimizers.values():
            yield from _torch_optimizers(one)
    else:
        yield inner
