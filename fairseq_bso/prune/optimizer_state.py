"""What optimizers store for a parameter: its float32 copy and its moments (running means of gradients and squares)."""

from typing import Any, Dict, Iterable, Iterator, List, Tuple

from torch import Tensor

KEEP_ZEROS = {
    "torch": {"Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD"},
    "fairseq": {"Adafactor", "Adam", "Adamax", "NAG"},
}
"""Optimizers, by package, that leave a weight at zero if the weight, its gradients and their mean are zero."""
SQUARES = {"exp_avg_sq", "square_avg", "sum"}
"""Names of the moments of squared gradients, by whose root these optimizers divide."""


def masters_of(optimizer: Any, weights: List[Tensor]) -> Iterator[Tuple[int, Tensor]]:
    """(index of a weight, the float32 copy that the optimizer updates), for fairseq's FP16Optimizer."""
    copies = getattr(optimizer, "fp32_params", None)
    if copies is None:
        return
    indices = {id(weight): index for index, weight in enumerate(weights)}
    trained = [parameter for parameter in optimizer.fp16_params if parameter.requires_grad]
    if isinstance(copies, (list, tuple)):
        for parameter, copy in zip(trained, copies):
            if id(parameter) in indices:
                yield indices[id(parameter)], copy.data
        return
    flats: Dict[Any, Tensor] = copies if isinstance(copies, dict) else {None: copies}
    for device, flat in flats.items():
        start = 0
        for parameter in trained:
            if len(flats) > 1 and parameter.device.index != device:
                continue
            if id(parameter) in indices:
                yield indices[id(parameter)], flat.data[start : start + parameter.numel()].view(parameter.shape)
            start += parameter.numel()


def moments_of(
    optimizer: Any, weights: List[Tensor], masters: List[Tuple[int, Tensor]]
) -> Iterator[Tuple[int, str, Tensor]]:
    """(index of a weight, name of a moment, the moment) for every moment of the weight's shape.

    Without masking, the momentum of a pruned weight would decay to denormal numbers, which slow processors down.
    """
    stepped = {tensor.data_ptr(): (index, tensor) for index, tensor in [*enumerate(weights), *masters]}
    for inner in _torch_optimizers(optimizer):
        for parameter, state in getattr(inner, "state", {}).items():
            moments = {name: part for name, part in state.items() if getattr(part, "shape", None) == parameter.shape}
            if parameter.dim() > 1 and parameter.data_ptr() in stepped:
                yield from ((stepped[parameter.data_ptr()][0], *moment) for moment in moments.items())
            elif parameter.dim() == 1:  # may be all parameters in one flat tensor
                for index, tensor, place in _inside(parameter, stepped.values()):
                    yield from ((index, name, flat[place].view(tensor.shape)) for name, flat in moments.items())


def _inside(flat: Tensor, stepped: Iterable[Tuple[int, Tensor]]) -> Iterator[Tuple[int, Tensor, slice]]:
    """The tensors whose memory is a part of a flat tensor: (index of the weight, tensor, its place in the flat one)."""
    for index, tensor in stepped:
        start = (tensor.data_ptr() - flat.data_ptr()) // flat.element_size()
        if 0 <= start <= flat.numel() - tensor.numel():
            yield index, tensor, slice(start, start + tensor.numel())


def keeps_zeros(optimizer: Any) -> bool:
    """Whether a fairseq optimizer leaves a weight at zero if its gradient and moments are zero."""
    kinds = map(type, _torch_optimizers(optimizer))
    return all(kind.__name__ in KEEP_ZEROS.get(kind.__module__.partition(".")[0], ()) for kind in kinds)


def _torch_optimizers(optimizer: Any) -> Iterator[Any]:
    """The torch optimizers inside a fairseq optimizer."""
    inner = getattr(optimizer, "optimizer", optimizer)
    if hasattr(inner, "optimizers"):
        for each in inner.optimizers.values():
            yield from _torch_optimizers(each)
    else:
        yield inner
