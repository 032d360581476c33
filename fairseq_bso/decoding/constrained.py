"""Decoding under a constraint, in fairseq's own generator.

The generator works on *columns* instead of words. Its "vocabulary" is the candidates of a sentence, a few hundred at
most, so neither scoring nor ranking covers all words. Column c of a sentence stands for the word
``Columns.words[sentence, c]``. The first columns are fairseq's special symbols, which keep their ids. The generator's
hypotheses are converted back to words at the end.
"""

import logging
import math
from typing import Dict, List, Optional

import torch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from ..errors import UserError
from ..search.constraints import BatchConstraint, first_disallowed
from .columns import Columns
from .constrained_ensemble import ConstrainedEnsemble
from .constraint import Constraint
from .unknown_words import alignment_of

logger = logging.getLogger(__name__)


class ConstrainedGenerator(SequenceGenerator):
    """fairseq's generator under a constraint.

    If the constraint bounds the length, this bound replaces ``--max-len-a`` and ``--max-len-b``.

    Args:
        constraint: builds the constraint of a batch.
    """

    def __init__(self, models, tgt_dict, constraint: Constraint, **options) -> None:
        super().__init__(ConstrainedEnsemble(models), tgt_dict, **options)
        self.constraint = constraint
        self.sampling_top_k = getattr(self.search, "sampling_topk", -1)  # may exceed the candidates of a sentence
        self.search.stop_on_max_len = True  # a sentence may have fewer outputs than the beam
        if constraint.decides_end and self.min_len == 1:  # fairseq's default
            self.min_len = 0

    def _generate(
        self,
        sample: Dict[str, Dict[str, Tensor]],
        prefix_tokens: Optional[Tensor] = None,
        constraints: Optional[Tensor] = None,
        bos_token: Optional[int] = None,
    ) -> List[List[Dict[str, Tensor]]]:
        """The best hypotheses of every sentence, at least one.

        If no hypothesis is allowed, the one returned has no word and score ``-inf``. This also holds for a sentence
        whose output would have more words than the model has positions.
        """
        source = sample["net_input"]["src_tokens"]
        constraint = self.constraint(source)
        longest = constraint.longest
        fitting = torch.ones_like(source[:, 0], dtype=torch.bool) if longest is None else longest <= self.max_len
        if bool(fitting.all()):
            return self._search(sample, constraint, prefix_tokens, constraints, bos_token)
        kept = fitting.nonzero().squeeze(1)
        found: List[List[Dict[str, Tensor]]] = [[] for _ in source]
        if len(kept):
            prefix_tokens = None if prefix_tokens is None else prefix_tokens[kept]
            constraint = self.constraint(source[kept])
            nbest = self._search(_select(sample, kept), constraint, prefix_tokens, constraints, bos_token)
            for sentence, hypotheses in zip(kept.tolist(), nbest):
                found[sentence] = hypotheses
        for sentence in (~fitting).nonzero().squeeze(1).tolist():
            words = int(longest[sentence]) - 1
            reason = (
                f"--successors {self.constraint.name} needs an output of {words} words and </s>, but the model has "
                f"--max-target-positions {self.max_len} (--model-overrides \"{{'max_target_positions': "
                'N}" sets another)'
            )
            found[sentence].append(self._empty_hypothesis(sample, sentence, reason))
        return found

    def _search(
        self,
        sample: Dict[str, Dict[str, Tensor]],
        constraint: BatchConstraint,
        prefix_tokens: Optional[Tensor],
        constraints: Optional[Tensor],
        bos_token: Optional[int],
    ) -> List[List[Dict[str, Tensor]]]:
        """The best hypotheses of sentences whose outputs are not too long."""
        source = sample["net_input"]["src_tokens"]
        columns = Columns.of(constraint.candidates, source.size(0), self.pad, 2 * self.beam_size + 1)
        self.model.begin(constraint, columns)
        self.vocab_size = columns.words.size(1)
        if constraint.longest is not None:
            self.max_len_a, self.max_len_b = 0, int(constraint.longest.max()) - 1  # fairseq's limit excludes </s>
        if prefix_tokens is not None:
            prefix_tokens = self._prefix_columns(prefix_tokens, columns, constraint)
        if hasattr(self.search, "sampling_topk"):
            self.search.sampling_topk = min(self.sampling_top_k, self.vocab_size)
        found = super()._generate(sample, prefix_tokens, constraints, bos_token)
        for sentence, hypotheses in enumerate(found):
            for hypothesis in hypotheses:
                hypothesis["tokens"] = columns.words[sentence, hypothesis["tokens"]]
                if self.constraint.name == "word_order":
                    hypothesis["alignment"] = alignment_of(hypothesis, source[sentence], self.constraint)
            if not hypotheses:
                name = self.constraint.name
                reason = f"no hypothesis on the beam reached an end that --successors {name} allows"
                hypotheses.append(self._empty_hypothesis(sample, sentence, reason))
        return found

    def _prefix_columns(self, prefix: Tensor, columns: Columns, constraint: BatchConstraint) -> Tensor:
        """The words of ``--prefix-size`` (B, p) as columns.

        Raises:
            UserError: if a word is not allowed in its place.
        """
        first = first_disallowed(constraint, prefix, prefix.ne(self.pad).sum(1))  # (B,)
        if bool((first >= 0).any()):
            sentence = int((first >= 0).nonzero()[0])
            word = self.tgt_dict[int(prefix[sentence, first[sentence]])]
            raise UserError(
                f"--prefix-size requires the word {word!r}, which --successors {self.constraint.name} does not allow "
                "there: leave out --prefix-size"
            )
        return (columns.words.unsqueeze(1) == prefix.unsqueeze(2)).long().argmax(2)  # (B, p)

    def _empty_hypothesis(self, sample: Dict, sentence: int, reason: str) -> Dict[str, Tensor]:
        """A hypothesis without words, of score ``-inf``. Logs a warning with the reason."""
        source, ids = sample["net_input"]["src_tokens"], sample.get("id")
        which = sentence if ids is None else int(ids[sentence])
        begins = self.constraint.beginning(source[sentence])
        logger.warning(f"sentence {which}: {reason}, so the output is empty; the sentence is {begins!r}")
        return {
            "tokens": source.new_tensor([self.eos]),
            "score": torch.tensor(-math.inf, device=source.device),
            "attention": torch.empty(0),
            "alignment": torch.empty(0),
            "positional_scores": torch.tensor([-math.inf], device=source.device),
        }

    def is_finished(self, step: int, unfin_idx: int, max_len: int, finalized_sent_len: int, beam_size: int) -> bool:
        """Also True if no hypothesis can continue, so that a sentence does not wait for a full beam."""
        return super().is_finished(step, unfin_idx, max_len, finalized_sent_len, beam_size) or self.model.is_at_end(
            unfin_idx, beam_size, self.eos
        )


def _select(sample: Dict, kept: Tensor) -> Dict:
    """The sentences ``kept`` (b,) of a batch of fairseq."""
    count = sample["net_input"]["src_tokens"].size(0)

    def part(value):
        if isinstance(value, dict):
            return {name: part(inner) for name, inner in value.items()}
        of_sentences = isinstance(value, Tensor) and value.dim() > 0 and value.size(0) == count
        return value.index_select(0, kept.to(value.device)) if of_sentences else value

    return part(sample)
