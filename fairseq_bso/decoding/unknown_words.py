"""The source word of each unknown word in an output, for `--replace-unk`.

fairseq replaces an unknown word by the source word that its alignment names, but aligns only some Transformers. Under
`word_order` an output has each source word once, so its unknown words are those of the source, in an order that the
attention chooses.
"""

import torch
from torch import Tensor

__all__ = ["align_unknown"]


def align_unknown(words: Tensor, unknown: int, places: Tensor, attention: Tensor) -> Tensor:
    """The alignment of an output; words that are known get place 0.

    Args:
        words: (T,) int64, the output.
        unknown: the symbol of unknown words.
        places: (U,) int64, where the source has unknown words, without padding.
        attention: (U, T) of each output word to these places; (U, 0) without attention: they keep their order.

    Returns:
        (T,) int64. The first unknown word takes the place that it attends to most, the next one of those that are left.
    """
    alignment = torch.zeros_like(words)
    free = list(range(len(places)))
    for time in (words == unknown).nonzero().squeeze(1).tolist():
        if not free:
            break
        best = free[0] if attention.size(1) <= time else max(free, key=lambda place: float(attention[place, time]))
        free.remove(best)
        alignment[time] = places[best]
    return alignment
