"""Costs of finished hypotheses on their text: subwords joined, compared by sacrebleu.

A cost is a function of lists of equal length:

    cost(hypotheses, references) -> a number for each pair, 0 for a perfect one

`register_text_cost("name")` makes a function of your own a value of ``--text-cost``: a neural metric, for example.
"""

import math
from typing import Callable, List, Optional, Sequence, Tuple

from sacrebleu.metrics import BLEU, CHRF, TER

from ..errors import UserError
from ..registry import Registry

__all__ = ["TextCosts", "get_text_cost", "register_text_cost", "text_cost_names"]

TextCost = Callable[[List[str], List[str]], Sequence[float]]
_COSTS: Registry[TextCost] = Registry("text cost", "register_text_cost")
get_text_cost, text_cost_names = _COSTS.get, _COSTS.names


def register_text_cost(name: str) -> Callable[[TextCost], TextCost]:
    """Decorator that registers a cost under `name`.

    Raises:
        ValueError: another cost has this name.
    """
    return _COSTS.decorator(name)


@register_text_cost("sentence_bleu")
def sentence_bleu(hypotheses: List[str], references: List[str]) -> List[float]:
    """One minus sacrebleu's sentence BLEU: smoothing ``exp``, effective order, its default tokens."""
    metric = BLEU(effective_order=True)
    return [max(0.0, 1 - metric.sentence_score(one, [right]).score / 100) for one, right in zip(hypotheses, references)]


@register_text_cost("chrf")
def chrf(hypotheses: List[str], references: List[str]) -> List[float]:
    """One minus sacrebleu's chrF2."""
    metric = CHRF()
    return [max(0.0, 1 - metric.sentence_score(one, [right]).score / 100) for one, right in zip(hypotheses, references)]


@register_text_cost("ter")
def ter(hypotheses: List[str], references: List[str]) -> List[float]:
    """sacrebleu's translation edit rate, at most 1."""
    metric = TER()
    return [min(1.0, metric.sentence_score(one, [right]).score / 100) for one, right in zip(hypotheses, references)]


class TextCosts:
    """Costs of word ids. A pair that occurred in the batch before is not computed again.

    Args:
        name: of a registered cost.
        dictionary: fairseq's target dictionary.
        remove_bpe: as ``--remove-bpe`` of fairseq-generate; None leaves symbols as they are.
    """

    def __init__(self, name: str, dictionary, remove_bpe: Optional[str] = None) -> None:
        self.name, self.cost = name, get_text_cost(name)
        self.dictionary, self.remove_bpe = dictionary, remove_bpe

    def text(self, words: Sequence[int]) -> str:
        """The text of word ids without ``</s>``."""
        return self.dictionary.string(words, self.remove_bpe, extra_symbols_to_ignore={self.dictionary.pad()})

    def __call__(self, pairs: Sequence[Tuple[Tuple[int, ...], Tuple[int, ...]]]) -> List[float]:
        """The costs of pairs of a hypothesis and its reference.

        Raises:
            UserError: if the cost raises an exception, or returns no finite number for each pair.
        """
        distinct = list(dict.fromkeys(pairs))
        texts = {words: self.text(words) for pair in distinct for words in pair}
        hypotheses, references = ([texts[pair[side]] for pair in distinct] for side in (0, 1))
        try:
            costs = [float(cost) for cost in self.cost(hypotheses, references)]
        except Exception as problem:
            raise UserError(
                f"--text-cost {self.name} raised {type(problem).__name__} ({problem}): it gets two lists of texts and "
                "returns a number for each pair"
            ) from problem
        if len(costs) != len(distinct):
            raise UserError(f"--text-cost {self.name} returned {len(costs)} numbers for {len(distinct)} pairs of texts")
        for cost, hypothesis, reference in zip(costs, hypotheses, references):
            if not math.isfinite(cost):
                raise UserError(
                    f"--text-cost {self.name} returned {cost} for the hypothesis {hypothesis!r} and the reference "
                    f"{reference!r}, but must return a finite number"
                )
        found = dict(zip(distinct, costs))
        return [found[pair] for pair in pairs]
