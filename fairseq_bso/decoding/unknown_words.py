"""The source word of each unknown word in an output, for `--replace-unk`.

fairseq replaces an unknown word by the source word that its alignment names, but aligns only some Transformers. Under
`word_order` an output has each source word once, so its unknown words are those of the source, in an order that the
attention chooses.
"""

from typing import Dict

import torch
from torch import Tensor

from .constraint import Constraint

__all__ = ["align_unknown", "alignment_of"]


def alignment_of(hypothesis: Dict[str, Tensor], source: Tensor, constraint: Constraint) -> Tensor:
    """The alignment (T,) of a hypothesis of fairseq's generator.

    Args:
        hypothesis: with `tokens` (T,), and `attention` (S, T) if the model gives it.
        source: (S,) int64, padded on either side.
        constraint: knows which source words the target dictionary lacks.
    """
    unknown, attention = constraint.vocabulary.unknown, hypothesis["attention"]
    is_real = source.ne(constraint.source_padding)
    is_unknown = (constraint.target_word[source] == unknown) & is_real & source.ne(constraint.source_end)
    places = (is_real.long().cumsum(0) - 1)[is_unknown].cpu()  # (U,)
    has_attention = attention is not None and attention.dim() == 2 and attention.size(0) == source.size(0)
    weights = attention[is_unknown].cpu() if has_attention else torch.empty(len(places), 0)
    return align_unknown(hypothesis["tokens"].cpu(), unknown, places, weights)


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
