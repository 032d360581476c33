"""BSO of any encoder-decoder of fairseq, in plain loops over one sentence: every prefix is run again from its start.

The score of a prefix is the sum of the log-probabilities that ``model.get_normalized_probs`` gives for its words. No
cache, no batch and no reset of a state takes part.
"""

import math
from functools import lru_cache, partial
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from fairseq_bso.compat import DYNAMIC_CONVOLUTIONS

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
    """``log p(w | prefix)`` of one source sentence, with gradient; each prefix is run once.

    fairseq's dynamic convolution takes its softmax over fewer weights where a sequence is shorter than its kernel. In
    decoding it does not. Short prefixes are therefore padded on the right, up to the kernel.
    """

    def __init__(self, model, source: Sequence[int]) -> None:
        self.model, self.vocabulary = model, model.decoder.dictionary
        self.encoder_out = model.encoder(torch.tensor([source]), src_lengths=torch.tensor([len(source)]))
        self.known: Dict[Tuple[int, ...], Tensor] = {}
        kernels = [one.kernel_size for one in model.decoder.modules() if isinstance(one, DYNAMIC_CONVOLUTIONS)]
        self.shortest = max([1, *kernels])

    def __call__(self, prefix: Sequence[int]) -> Tensor:
        """(V,)"""
        key = tuple(prefix)
        if key not in self.known:
            fed = [self.vocabulary.eos(), *prefix]
            fed += [self.vocabulary.pad()] * (self.shortest - len(fed))
            decoder_out = self.model.decoder(torch.tensor([fed]), encoder_out=self.encoder_out)
            self.known[key] = self.model.get_normalized_probs(decoder_out, log_probs=True)[0, len(prefix)]
        return self.known[key]


def words_to_rank(scores: Scores, gold: Sequence[int], options: Options) -> List[int]:
    """The words among the best after some gold prefix, and gold's own; every word if the search is exact."""
    vocabulary = [word for word in range(len(scores.vocabulary)) if word != scores.vocabulary.pad()]
    if options.search_words == 0:
        return vocabulary
    ranked = set(gold)
    for time in range(len(gold)):
        values = scores(gold[:time]).tolist()
        best = sorted(vocabulary, key=lambda word: -values[word])
        ranked.update(best[: max(options.beam, options.search_words)])
    return sorted(ranked)


def violations_of(
    scores: Scores, gold: Sequence[int], options: Options, allows: Optional[Callable] = None
) -> List[Violation]:
    """The violations of one sentence.

    ``allows(prefix)`` is the set of words that a constraint allows after the prefix. A constraint takes the place of
    the search words.
    """
    ranked = words_to_rank(scores, gold, options)

    @lru_cache(None)
    def score(prefix):
        allowed = set(ranked if allows is None else allows(list(prefix))) - {scores.vocabulary.pad()}
        return [value if word in allowed else -math.inf for word, value in enumerate(scores(prefix).tolist())]

    end, lenpen = scores.vocabulary.eos(), options.finished_lenpen
    return search(gold, score, options.beam, end, options.margin, True, lenpen)[0]


def sentence_loss(
    scores: Scores, gold: Sequence[int], options: Options, allows: Optional[Callable] = None
) -> Tuple[Tensor, List[Violation]]:
    """The loss of one sentence with gradient, and its violations."""
    found = violations_of(scores, gold, options, allows)
    total = scores(()).new_zeros(())
    for violation in found:
        span = violation.time + 1 - violation.reset
        hypothesis = [*violation.violator[violation.reset :]]
        hypothesis += [scores.vocabulary.pad()] * (span - len(hypothesis))
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
    """The summed loss of a batch, one sentence at a time. ``allows(source, prefix)`` belongs to a constraint."""
    losses, violations = [], []
    for source, gold in zip(sources, golds):
        allowed = None if allows is None else partial(allows, source)
        loss, found = sentence_loss(Scores(model, source), gold, options, allowed)
        losses.append(loss)
        violations.append(found)
    return Expected(sum(losses), violations)
