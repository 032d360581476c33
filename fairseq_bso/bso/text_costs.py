"""Costs of finished hypotheses on their text: subwords joined, compared by sacrebleu.

A cost is a function of lists of equal length, which hold every distinct pair of a batch:

    cost(hypotheses, references) -> a number for each pair, 0 for a perfect one

`register_text_cost("name")` makes a function of your own a value of ``--text-cost``: a neural metric, for example. With
`register_text_cost("name", sources=True)` it gets the source sentences too: ``cost(hypotheses, references, sources)``.
"""

import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from sacrebleu.metrics import BLEU, CHRF, TER
from torch import Tensor

from ..errors import UserError, counted
from ..registry import Registry
from ..search.finished_search import Finished

__all__ = ["TextCosts", "get_text_cost", "register_text_cost", "text_cost_names"]

CostFunction = Callable[..., Sequence[float]]
Words = Tuple[int, ...]


class TextCost(NamedTuple):
    """A registered cost."""

    function: CostFunction
    with_sources: bool
    """whether the function gets the source sentences too"""


_COSTS: Registry[TextCost] = Registry("text cost", "register_text_cost")
get_text_cost, text_cost_names = _COSTS.get, _COSTS.names


def register_text_cost(name: str, sources: bool = False) -> Callable[[CostFunction], CostFunction]:
    """Decorator that registers a cost under `name`.

    Args:
        name: the value of ``--text-cost``.
        sources: whether the function gets the source sentences as a third list.

    Raises:
        TypeError: `name` is not a string (the decorator was written without its name).
        ValueError: another cost has this name.
    """
    _COSTS.check_free(name)

    def register(function: CostFunction) -> CostFunction:
        _COSTS.add(name, TextCost(function, sources))
        return function

    return register


@register_text_cost("sentence_bleu")
def sentence_bleu(hypotheses: List[str], references: List[str]) -> List[float]:
    """One minus sacrebleu's sentence BLEU: smoothing ``exp``, effective order, its default tokens."""
    return [max(0.0, 1 - score) for score in _scores(BLEU(effective_order=True), hypotheses, references)]


@register_text_cost("chrf")
def chrf(hypotheses: List[str], references: List[str]) -> List[float]:
    """One minus sacrebleu's chrF2."""
    return [max(0.0, 1 - score) for score in _scores(CHRF(), hypotheses, references)]


@register_text_cost("ter")
def ter(hypotheses: List[str], references: List[str]) -> List[float]:
    """sacrebleu's translation edit rate, at most 1."""
    return [min(1.0, score) for score in _scores(TER(), hypotheses, references)]


def _scores(metric: Any, hypotheses: List[str], references: List[str]) -> List[float]:
    """The scores of a sacrebleu metric for each pair, divided by 100."""
    return [metric.sentence_score(text, [reference]).score / 100 for text, reference in zip(hypotheses, references)]


@register_text_cost("hamming")
def hamming(hypotheses: List[str], references: List[str]) -> List[float]:
    """The share of places with another word, of the places of the longer text. A place that one text lacks differs."""
    return [_hamming(text.split(), reference.split()) for text, reference in zip(hypotheses, references)]


def _hamming(words: List[str], reference: List[str]) -> float:
    equal = sum(word == other for word, other in zip(words, reference))
    return 1 - equal / max(len(words), len(reference)) if words or reference else 0.0


class Compared(NamedTuple):
    """The words of a hypothesis and what it is compared with; each ends in ``</s>``."""

    hypothesis: Words
    reference: Words
    source: Words


class TextCosts:
    """Costs of word ids. Texts that occur several times in a batch are compared once.

    Args:
        name: of a registered cost.
        task: with the dictionaries of both sides.
        remove_bpe: as ``--remove-bpe`` of fairseq-generate; None leaves symbols as they are.

    Raises:
        ValueError: there is no such cost.
        UserError: if fairseq does not know this way of joining symbols.
    """

    def __init__(self, name: str, task, remove_bpe: Optional[str] = None) -> None:
        self.name, self.cost = name, get_text_cost(name)
        self.target, self.source, self.remove_bpe = task.target_dictionary, task.source_dictionary, remove_bpe
        try:
            self._text((), self.target)
        except NotImplementedError:
            raise UserError(
                f"--text-remove-bpe {remove_bpe} is not known: give sentencepiece, subword_nmt or another value of "
                "fairseq's --remove-bpe"
            ) from None

    def of_finished(self, finished: Finished, golds: Sequence[Words], source: Tensor) -> Tensor:
        """The costs (B, K) of finished hypotheses, 0 for none, on the CPU.

        Args:
            finished: of B sentences, K each.
            golds: the words of each reference.
            source: (B, S) int64.

        Raises:
            UserError: as ``__call__``.
        """
        paths, lengths, sources = finished.paths.tolist(), finished.lengths.tolist(), source.tolist()
        places = [(sentence, k) for sentence, row in enumerate(lengths) for k, length in enumerate(row) if length]
        pairs = [
            Compared(tuple(paths[sentence][k][: lengths[sentence][k]]), golds[sentence], tuple(sources[sentence]))
            for sentence, k in places
        ]
        costs = torch.zeros(finished.lengths.shape, dtype=torch.float32)  # (B, K)
        if pairs:
            sentences, slots = torch.tensor(places).unbind(1)
            costs[sentences, slots] = torch.tensor(self(pairs), dtype=torch.float32)
        return costs

    def __call__(self, pairs: Sequence[Compared]) -> List[float]:
        """The cost of each pair.

        Raises:
            UserError: if the cost raises an exception, or returns no finite number for each pair.
        """
        texts = self._texts(pairs)
        distinct = list(dict.fromkeys(texts))
        columns = [list(column) for column in zip(*distinct)]
        try:
            costs = [float(cost) for cost in self.cost.function(*columns)]
        except Exception as problem:
            takes = "three lists of texts" if self.cost.with_sources else "two lists of texts"
            raise UserError(
                f"--text-cost {self.name} raised {type(problem).__name__} ({problem}): it gets {takes} and "
                "returns a number for each pair"
            ) from problem
        if len(costs) != len(distinct):
            raise UserError(
                f"--text-cost {self.name} returned {counted(len(costs), 'number')} for "
                f"{counted(len(distinct), 'pair')} of texts"
            )
        for cost, (hypothesis, reference, *_) in zip(costs, distinct):
            if not math.isfinite(cost):
                raise UserError(
                    f"--text-cost {self.name} returned {cost} for the hypothesis {hypothesis!r} and the reference "
                    f"{reference!r}, but must return a finite number"
                )
        found = dict(zip(distinct, costs))
        return [found[pair] for pair in texts]

    def _texts(self, pairs: Sequence[Compared]) -> List[Tuple[str, ...]]:
        """The texts that the cost compares; each sequence of words is joined once."""
        known: Dict[Tuple[bool, Words], str] = {}

        def text(words: Words, of_source: bool) -> str:
            if (of_source, words) not in known:
                known[of_source, words] = self._text(words, self.source if of_source else self.target)
            return known[of_source, words]

        texts = [(text(pair.hypothesis, False), text(pair.reference, False)) for pair in pairs]
        if not self.cost.with_sources:
            return texts
        return [(*both, text(pair.source, True)) for both, pair in zip(texts, pairs)]

    def _text(self, words: Words, dictionary) -> str:
        """The text of word ids, without ``</s>`` and padding."""
        return dictionary.string(words, self.remove_bpe, extra_symbols_to_ignore={dictionary.pad()})
