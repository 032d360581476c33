"""The source word of each unknown word in an output, for `--replace-unk`.

fairseq replaces an unknown word by the source word that its alignment names, but aligns only some Transformers. Under
`word_order` an output has each source word once, so its unknown words are those of the source, in an order that the
attention chooses. These places are those of subwords, so unknown words are replaced before subwords are joined.
"""

import functools
from typing import Any, Callable, Dict, List

import torch
from fairseq import utils
from fairseq.data import data_utils
from torch import Tensor

from ..errors import UserError
from .constraint import Constraint

__all__ = ["Alignment", "align_unknown", "alignment_of", "check_texts", "replacing_before_joining"]


class Alignment(List[int]):
    """The place in the source of every output word.

    Args:
        places: (T,) int64.
        source_words: the number of words in the source, without ``</s>``.
    """

    def __init__(self, places: Tensor, source_words: int) -> None:
        super().__init__(places.tolist())
        self.source_words = source_words


def alignment_of(hypothesis: Dict[str, Tensor], source: Tensor, constraint: Constraint) -> Alignment:
    """The alignment of a hypothesis of fairseq's generator.

    Args:
        hypothesis: with `tokens` (T,), and `attention` (S, T) if the model gives it.
        source: (S,) int64, padded on either side.
        constraint: knows which source words the target dictionary lacks.
    """
    unknown, attention = constraint.vocabulary.unknown, hypothesis["attention"]
    is_real = source.ne(constraint.source_padding)
    is_word = is_real & source.ne(constraint.source_end)
    is_unknown = (constraint.target_word[source] == unknown) & is_word
    places = (is_real.long().cumsum(0) - 1)[is_unknown].cpu()  # (U,)
    has_attention = attention is not None and attention.dim() == 2 and attention.size(0) == source.size(0)
    weights = attention[is_unknown].cpu() if has_attention else torch.empty(len(places), 0)
    return Alignment(align_unknown(hypothesis["tokens"].cpu(), unknown, places, weights), int(is_word.sum()))


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


def check_texts(datasets: Dict[str, Any]) -> None:
    """Checks that fairseq-generate finds the words that it writes in place of unknown ones.

    Args:
        datasets: those that the task has loaded. fairseq-interactive loads none.

    Raises:
        UserError: if a side of a data set does not hold its text.
    """
    for name, dataset in datasets.items():
        if not all(hasattr(getattr(dataset, side, None), "get_original_text") for side in ("src", "tgt")):
            raise UserError(
                f"--replace-unk writes words of the source text, but the data of {name} does not hold the text of both "
                "sides: prepare them with --dataset-impl raw, decode with it too, and leave out --truncate-source"
            )


def replacing_before_joining(process: Callable[..., Any]) -> Callable[..., Any]:
    """fairseq's `post_process_prediction`, which replaces unknown words before it joins subwords.

    fairseq joins first, and then takes the places of subwords for those of words. The words that it writes are others.

    Raises:
        UserError: the subwords of the source are joined already, as fairseq-interactive does with ``--remove-bpe``, and
            fairseq-generate with ``--bpe``.
    """

    @functools.wraps(process)
    def replace_and_join(
        hypo_tokens, src_str, alignment, align_dict, tgt_dict, remove_bpe=None, extra_symbols_to_ignore=None
    ):
        if align_dict is not None and isinstance(alignment, Alignment):
            found = len(src_str.split())
            if found < alignment.source_words:
                raise UserError(
                    f"--replace-unk takes words of the source by their places, but {alignment.source_words} subwords "
                    f"were joined to {found} words there: leave out --remove-bpe (--post-process) and --bpe, and join "
                    "the subwords of the output afterwards"
                )
        if align_dict is None or remove_bpe is None:
            return process(hypo_tokens, src_str, alignment, align_dict, tgt_dict, remove_bpe, extra_symbols_to_ignore)
        _, text, alignment = process(
            hypo_tokens, src_str, alignment, align_dict, tgt_dict, None, extra_symbols_to_ignore
        )
        text = data_utils.post_process(text, remove_bpe)
        return tgt_dict.encode_line(text, add_if_not_exist=True), text, alignment

    return replace_and_join


# The commands look this name up in the module.
utils.post_process_prediction = replacing_before_joining(utils.post_process_prediction)
