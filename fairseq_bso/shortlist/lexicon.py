"""The translation probabilities of words ``p(t | s)``: IBM model 1 (Brown et al. 1993) on the training pairs.

In this model every target word comes from one word of the source, or from the null word. The probabilities start equal.
Each iteration of expectation maximization counts how often each source word explains each target word.

Sizes: ``V`` words of a dictionary, ``U`` pairs of words that occur together, ``P`` such pairs with repetitions.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence, Tuple

import numpy
from numpy import ndarray

Sentences = Sequence[ndarray]
"""word ids of each sentence"""


class Lexicon(NamedTuple):
    """Pairs of a source and a target word, ascending."""

    sources: ndarray
    """(U,)"""
    targets: ndarray
    """(U,)"""
    probabilities: ndarray
    """(U,) of the target word, given the source word"""

    def top_k(self, k: int, size: int) -> Tuple[ndarray, ndarray]:
        """The ``k`` most probable target words of each source word; among equals the smaller id first.

        Args:
            k: how many at most.
            size: V source words.

        Returns:
            how many each source word has (V,), and these words, one after another.
        """
        order = numpy.lexsort((self.targets, -self.probabilities, self.sources))
        sources = self.sources[order]
        kept = numpy.arange(len(sources)) - numpy.searchsorted(sources, sources) < k
        kept &= sources < size
        return numpy.bincount(sources[kept], minlength=size), self.targets[order][kept]


def ibm_model_1(sources: Sentences, targets: Sentences, sizes: Tuple[int, int], iterations: int) -> Lexicon:
    """Estimates the lexicon of sentence pairs.

    Args:
        sources, targets: the sentences, without ``</s>``.
        sizes: V source words and V target words. The null word has the id V.
        iterations: of expectation maximization; 0 leaves every target word of a source word equally likely.
    """
    null_word, width = sizes
    pair_keys = [
        (numpy.append(source, null_word)[None, :] * width + target[:, None]).ravel()
        for source, target in zip(sources, targets)
    ]
    lengths = [len(source) + 1 for source, target in zip(sources, targets) for _ in target]  # of each target word
    keys, pairs = numpy.unique(numpy.concatenate([numpy.empty(0, numpy.int64), *pair_keys]), return_inverse=True)
    del pair_keys
    owners = numpy.repeat(numpy.arange(len(lengths), dtype=numpy.int32), lengths)  # (P,)
    pairs = pairs.astype(numpy.int32)  # (P,)
    words, probabilities = keys // width, numpy.ones(len(keys))
    probabilities /= numpy.bincount(words, minlength=1)[words]
    for _ in range(iterations):
        shares = probabilities[pairs]
        shares /= numpy.bincount(owners, shares)[owners]
        counts = numpy.bincount(pairs, shares, minlength=len(keys))
        probabilities = counts / numpy.bincount(words, counts)[words]
    return Lexicon(words, keys % width, probabilities)
