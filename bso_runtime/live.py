"""The hypotheses of a search, step by step.

Sizes: b sentences that are still searched, W hypotheses of each; R = b * W rows, those of a sentence one after another;
C columns, the words that may come next: the V words of the vocabulary, or with a shortlist those of each sentence.
"""

from dataclasses import dataclass
from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np

from .constraints import BatchConstraint, Constraint
from .shortlist import SentenceWords
from .vocabulary import END, PAD

Array = np.ndarray

LENPEN = 10.0  # the largest length penalty, with either sign: float32 then holds the power of any length


class GenerationOptions(NamedTuple):
    """The options of fairseq-generate with these names."""

    beam: int = 5
    max_len_a: float = 0.0
    max_len_b: int = 200
    lenpen: float = 1.0
    """for softmax models; raw scores are never divided by length"""


class ShortOutput:
    """The output layer for the words of each of b sentences.

    Args:
        network: of the model.
        words: the ids (C,) of each sentence, ascending, `</s>` first.
    """

    def __init__(self, network: Any, words: Sequence[Array]) -> None:
        weights, biases = zip(*map(network.output_rows, words))  # (C, F) and (C,) of each sentence
        self.weights: List[Array] = list(weights)
        self.words = np.full((len(words), max(map(len, words))), PAD)  # (b, C)
        self.bias = np.full((len(words), 1, self.words.shape[1]), -np.inf, np.float32)  # -inf where there is no word
        for row, (ids, bias) in enumerate(zip(words, biases)):
            self.words[row, : len(ids)] = ids
            self.bias[row, 0, : len(ids)] = bias

    def __call__(self, outputs: Array) -> Array:
        """Attentional vectors (R, F) -> scores f (b, W, C)."""
        if len(self.weights) == 1:
            return (outputs @ self.weights[0].T)[None] + self.bias
        sentences, _, columns = self.bias.shape
        outputs = outputs.reshape(sentences, -1, outputs.shape[1])
        scores = np.zeros((sentences, outputs.shape[1], columns), np.float32)
        for block, rows, weight in zip(scores, outputs, self.weights):
            np.matmul(rows, weight.T, out=block[:, : len(weight)])
        scores += self.bias
        return scores

    def select(self, sentences: Array) -> "ShortOutput":
        """The same for some of the sentences (k,)."""
        chosen = object.__new__(ShortOutput)
        chosen.weights = [self.weights[sentence] for sentence in sentences]
        most = max(map(len, chosen.weights))
        chosen.words, chosen.bias = self.words[sentences, :most], self.bias[sentences, :, :most]
        return chosen


@dataclass
class LiveHypotheses:
    """The sentences that are still searched, and their live hypotheses."""

    sentences: Array
    """(b,) their positions in the batch"""
    limits: Array
    """(b,) the longest output, without `</s>`"""
    words: Array
    """(R,) the last word of each hypothesis"""
    memory: Any
    """a network's memory of the b sentences"""
    state: Any
    """a network's state of the R hypotheses"""
    constraint: Optional[BatchConstraint]
    output: Optional[ShortOutput]
    """the output layer of a shortlist"""

    @staticmethod
    def start(
        network: Any,
        sources: Sequence[List[int]],
        options: GenerationOptions,
        constraint: Optional[Constraint],
        shortlist: Optional[SentenceWords],
    ) -> "LiveHypotheses":
        """One empty hypothesis for each of B sentences."""
        of_batch = None if constraint is None else BatchConstraint([constraint(source) for source in sources])
        limits = _length_limits(network, sources, options) if of_batch is None else of_batch.limits()
        output = None
        if shortlist is not None:
            output = ShortOutput(network, [shortlist(source) for source in sources])
        memory, state = network.encode(sources)
        sentences, words = np.arange(len(sources)), np.full(len(sources), END)
        return LiveHypotheses(sentences, limits, words, memory, state, of_batch, output)

    def step(self, network: Any) -> Array:
        """Feeds the last words to the network. Returns the scores f of the next words, (b, W, C).

        Raises FloatingPointError if a score is infinite or NaN."""
        if self.output is not None:
            self.state = network.advance(self.words, self.state, self.memory)
            values = self.output(self.state.fed)
        else:
            values, self.state = network.step(self.words, self.state, self.memory)
            values = values.reshape(len(self.sentences), -1, values.shape[1])
        if not np.isfinite(values.max()):  # the maximum of numbers with a NaN is NaN
            raise FloatingPointError("a score is infinite or NaN")
        return values

    def forbid(self, values: Array, step: int) -> None:
        """Sets the scores f (b, W, C) of words that may not come at this step to -inf."""
        end = 0
        if self.output is None:
            values[:, :, PAD] = -np.inf
            end = END
        last = self.limits <= step  # (b,)
        if self.constraint is not None:
            self.constraint.restrict(values)
        elif step == 0:
            values[~last, :, end] = -np.inf  # an output has a word, unless its limit is 0
        if last.any():
            values[last, :, :end] = values[last, :, end + 1 :] = -np.inf

    def words_of(self, columns: Array) -> Array:
        """The words of columns (b, N)."""
        if self.output is None:
            return columns
        return self.output.words[np.arange(len(columns))[:, None], columns]

    def keep(self, kept: Array, words: Array, rows: Optional[Array] = None) -> None:
        """Drops finished sentences, and replaces the hypotheses of the others by their extensions.

        Args:
            kept: (k,) the indices, among the b, of the sentences that are not finished.
            words: (R,) the words that extend their hypotheses.
            rows: (R,) the parent rows of the new hypotheses; None for one hypothesis in each sentence, its own parent.
        """
        fewer = len(kept) < len(self.sentences)
        self.words = words
        if rows is not None or fewer:
            self.state = self.state.select(kept if rows is None else rows)
        if self.constraint is not None:
            self.constraint.advance(kept, kept if rows is None else rows, words)
        if fewer:
            self.memory = self.memory.select(kept)
            self.sentences, self.limits = self.sentences[kept], self.limits[kept]
            self.output = None if self.output is None else self.output.select(kept)


def _length_limits(network: Any, sources: Sequence[List[int]], options: GenerationOptions) -> Array:
    """(B,) the longest output of each sentence, without `</s>`."""
    lengths = np.array([len(source) for source in sources])
    positions = network.config.max_target_positions
    factor, words = (min(number, positions) for number in (options.max_len_a, options.max_len_b))  # int64 holds these
    return np.minimum((factor * lengths + words).astype(int), positions - 1)
