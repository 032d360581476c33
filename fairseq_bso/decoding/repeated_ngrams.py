"""`--no-repeat-ngram-size` of fairseq's generator, which fairseq does not carry out on a CPU."""

import math
from typing import Any

from fairseq.ngram_repeat_block import NGramRepeatBlock
from torch import Tensor

__all__ = ["without_repeated_ngrams"]


def without_repeated_ngrams(block: Any, tokens: Tensor, lprobs: Tensor, bsz: int, beam_size: int, step: int) -> Tensor:
    """The scores of the next words, -inf for a word that would complete an n-gram for the second time.

    fairseq's own method compares the end of `tokens`, which is padding until the last step. The start symbol counts as
    no word.

    Args:
        block: has `no_repeat_ngram_size`, the n of the n-grams.
        tokens: (B * K, longest + 2) the start symbol, the words so far, padding.
        lprobs: (B * K, V) scores of the next words; changed in place.
        bsz, beam_size: B and K, unused.
        step: the number of words so far.
    """
    size = block.no_repeat_ngram_size
    for row, words in enumerate(tokens[:, 1 : step + 1].tolist()):
        starts = range(len(words) - size + 1)
        last = words[len(words) - size + 1 :] if starts else None
        repeated = {words[start + size - 1] for start in starts if words[start : start + size - 1] == last}
        lprobs[row, list(repeated)] = -math.inf
    return lprobs


# The generator calls the method where fairseq was built without its CUDA extension, or where the scores are on a CPU.
NGramRepeatBlock._no_repeat_ngram = without_repeated_ngrams
