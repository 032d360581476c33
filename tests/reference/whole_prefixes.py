"""BSO of any encoder-decoder of fairseq, in plain loops over one sentence: every prefix is run again from its start.

The score of a prefix is the sum of the log-probabilities that ``model.get_normalized_probs`` gives for its words. No
cache, no batch and no reset of a state takes part.
"""

import math
from functools import lru_cache
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from fairseq.modules import DynamicConv_scripatable
from torch import Tensor

from . import costs
from .search import Violation, gap, search

COSTS = {
    "zero_one": lambda hypothesis, gold: 1.0,
    "sentence_bleu": costs.sentence_bleu_cost,
    "hamming": costs.hamming_cost,
}


class Options(NamedTuple):
    """The options of the criterion, with its defaults for an exact search."""

    beam: int
    margin: float = 1.0
    delta: str = "zero_one"
    nll_weight: float = 0.0
    finished_lenpen: Optional[float] = None
    """the length penalty of ``--finished rival``; None is ``--finished dropped``"""
    search_words: int = 0
    """the words that the search ranks; 0 is the whole vocabulary"""


class Expected(NamedTuple):
    """The loss of a batch, with gradient, and the violations of each sentence."""

    loss: Tensor
    violations: List[List[Violation]]


class Scores:
    """``log p(w | prefix)`` of one source sentence; each prefix is run once without and once with gradient.

    fairseq's dynamic convolution takes its softmax over fewer weights where a prefix is shorter than its kernel, other
    than in decoding. Such prefixes are therefore padded on the right, up to the kernel.
    """

    def __init__(self, model, source: Sequence[int]) -> None:
        self.model, self.source = model, source
        kernels = [one.kernel_size for one in model.decoder.modules() if isinstance(one, DynamicConv_scripatable)]
        self.shortest = max([1, *kernels])
        self.known: Dict[Tuple[bool, Sequence[int]], Tensor] = {}
        self.encoded: Dict[bool, object] = {}

    def __call__(self, prefix: Sequence[int]) -> Tensor:
        """(V,) with gradient if autograd records."""
        key = torch.is_grad_enabled(), tuple(prefix)
        if key not in self.known:
            decoder_out = self.model.decoder(self._fed(prefix), encoder_out=self._encode())
            self.known[key] = self.model.get_normalized_probs(decoder_out, log_probs=True)[0, len(prefix)]
        return self.known[key]

    def _fed(self, prefix: Sequence[int]) -> Tensor:
        vocabulary = self.model.decoder.dictionary
        fed = [vocabulary.eos(), *prefix]
        return torch.tensor([fed + [vocabulary.pad()] * (self.shortest - len(fed))])

    def _encode(self):
        recorded = torch.is_grad_enabled()
        if recorded not in self.encoded:
            lengths = torch.tensor([len(self.source)])
            self.encoded[recorded] = self.model.encoder(torch.tensor([self.source]), src_lengths=lengths)
        return self.encoded[recorded]


def words_to_rank(scores: Scores, gold: Sequence[int], options: Options, padding: int) -> List[int]:
    """The words among the best after some gold prefix, and gold's own; every word if the search is exact."""
    vocabulary = [word for word in range(len(scores.model.decoder.dictionary)) if word != padding]
    if options.search_words == 0:
        return vocabulary
    ranked = set(gold)
    for time in range(len(gold)):
        values = scores(gold[:time]).tolist()
        best = sorted(vocabulary, key=lambda word: -values[word])
        ranked.update(best[: max(options.beam, options.search_words)])
    return sorted(ranked)


def violations_of(
    model, source: Sequence[int], gold: Sequence[int], options: Options, allows: Optional[Callable] = None
) -> Tuple[List[Violation], List[List[Tuple[int, ...]]]]:
    """The violations of one sentence and its beams after every step.

    ``allows(source, prefix)`` is the set of words that a constraint allows after the prefix. A constraint takes the
    place of the search words.
    """
    padding, end = model.decoder.dictionary.pad(), model.decoder.dictionary.eos()
    scores = Scores(model, source)
    with torch.no_grad():
        ranked = words_to_rank(scores, gold, options, padding)

        @lru_cache(None)
        def score(prefix):
            values = scores(prefix).tolist()
            allowed = set(ranked if allows is None else allows(source, list(prefix))) - {padding}
            return [value if word in allowed else -math.inf for word, value in enumerate(values)]

        return search(gold, score, options.beam, end, options.margin, True, options.finished_lenpen)


def sentence_loss(
    model, source: Sequence[int], gold: Sequence[int], options: Options, allows: Optional[Callable] = None
) -> Tuple[Tensor, List[Violation]]:
    """The loss of one sentence with gradient, and its violations."""
    padding = model.decoder.dictionary.pad()
    found, _ = violations_of(model, source, gold, options, allows)
    scores = Scores(model, source)
    total = torch.zeros((), dtype=next(model.parameters()).dtype)
    for violation in found:
        span = violation.time + 1 - violation.reset
        hypothesis = [*violation.violator[violation.reset :]]
        hypothesis += [padding] * (span - len(hypothesis))
        cost = COSTS[options.delta](hypothesis, list(gold[violation.reset : violation.time + 1]))
        difference = gap(violation, gold, scores, True, options.finished_lenpen)
        assert abs(float(difference.detach()) - violation.gap) < 1e-6
        total = total + cost * (options.margin - difference).clamp(min=0)
    if options.nll_weight > 0:
        for time, word in enumerate(gold):
            total = total - options.nll_weight * scores(gold[:time])[word]
    return total, found


def beam_search_loss(
    model,
    sources: Sequence[Sequence[int]],
    golds: Sequence[Sequence[int]],
    options: Options,
    allows: Optional[Callable] = None,
) -> Expected:
    """The summed loss of a batch, one sentence at a time."""
    made = [sentence_loss(model, source, gold, options, allows) for source, gold in zip(sources, golds)]
    return Expected(sum(loss for loss, _ in made), [found for _, found in made])
