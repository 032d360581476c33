"""Decoding under a constraint, in fairseq's own generator.

The generator works on *columns* instead of words. Its "vocabulary" is the candidates of a sentence, a few hundred at
most, so neither scoring nor ranking covers all words. Column c of a sentence stands for the word
``Columns.words[sentence, c]``. The first columns are fairseq's special symbols, which keep their ids. The generator's
hypotheses are converted back to words at the end.
"""

import logging
import math
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from torch import Tensor, nn

from ..blockwise import log_partition
from ..errors import UserError
from ..search.candidate_search import CandidateScorer
from ..search.constraints import BatchConstraint, first_disallowed
from ..search.scorer import Scorer
from ..search.states import State
from .columns import Columns
from .constraint import Constraint
from .unknown_words import alignment_of
from .unnormalized import common_prefix_score

logger = logging.getLogger(__name__)


class ConstrainedBeam(NamedTuple):
    """The N = b * K hypotheses on the beams of b sentences, K each."""

    sentences: Tensor
    """(N,) int64, the index of the sentence in the original batch"""
    alive: Tensor
    """(N,) bool, False for the entries with which fairseq fills an empty beam"""
    allowed: Tensor
    """(N, C) bool, the candidates that were allowed in the latest step"""
    scores: Tensor
    """(N, C) the scores of all candidates in the latest step"""
    state: State
    """each (N, ...), the state of the constraint"""

    def select(self, index: Tensor) -> "ConstrainedBeam":
        """The hypotheses ``index`` (N',)."""
        parts = [part.index_select(0, index) for part in self[:4]]
        return ConstrainedBeam(*parts, tuple(part.index_select(0, index) for part in self.state))


class ConstrainedEnsemble(EnsembleModel):
    """Scores only the words that a constraint allows, in columns.

    An ensemble of softmax models averages probabilities; models without probabilities average raw scores ``f``.
    """

    def __init__(self, models: List[nn.Module]) -> None:
        super().__init__(models)
        self.prefix_score = common_prefix_score(models)
        self.members = [EnsembleModel([model]) for model in models]
        self.beam: Optional[ConstrainedBeam] = None

    def begin(self, constraint: BatchConstraint, columns: Columns) -> None:
        """Starts a new batch."""
        self.constraint, self.columns, self.beam = constraint, columns, None
        self.scorers = [
            CandidateScorer(scorer, constraint.candidates) if isinstance(scorer, Scorer) else None
            for scorer in (getattr(model.decoder, "scorer", None) for model in self.models)
        ]

    def forward_decoder(
        self,
        tokens: Tensor,
        encoder_outs: list,
        incremental_states: List[Dict[str, Dict[str, Optional[Tensor]]]],
        temperature: float = 1.0,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """tokens (N, t) columns -> each column's addition to the score of a hypothesis (N, G), attention (N, S)."""
        kept, previous_scores = self._advance(tokens)
        sentences, state = kept.sentences, kept.state
        allowed = self.constraint.allowed(state, sentences) & kept.alive.unsqueeze(1)  # (N, C)
        words = self.columns.to_words(tokens, sentences)
        parts, attention = [], []
        for member, scorer, encoder_out, stored in zip(self.members, self.scorers, encoder_outs, incremental_states):
            scores, weights = self._score(member, scorer, words, encoder_out, stored, sentences, temperature)
            parts.append(scores)
            attention += [] if weights is None else [weights]
        scores = torch.stack(parts)  # (models, N, C)
        if self.prefix_score.normalized and self.constraint.among_candidates:
            scores = scores.masked_fill(~self.constraint.exists(sentences), -math.inf).log_softmax(2)
        scores = scores.logsumexp(0) - math.log(len(parts)) if self.prefix_score.normalized else scores.mean(0)
        self.beam = ConstrainedBeam(sentences, kept.alive, allowed, scores, state)
        step_scores = scores if self.prefix_score.cumulative else scores - previous_scores.unsqueeze(1)
        step_scores = step_scores.masked_fill(~allowed, -math.inf)
        return self.columns.spread(step_scores, sentences), torch.stack(attention).mean(0) if attention else None

    def _advance(self, tokens: Tensor) -> Tuple[ConstrainedBeam, Tensor]:
        """The hypotheses after the last column of ``tokens`` (N, t), and the score (N,) of each one's last column."""
        rows, kept = tokens.size(0), self.beam
        if kept is None:
            sentences = torch.arange(self.columns.words.size(0), device=tokens.device)
            sentences = sentences.repeat_interleave(rows // sentences.numel())
            state = tuple(part.index_select(0, sentences) for part in self.constraint.start())
            no_step = torch.empty(rows, 0, device=tokens.device)
            alive = torch.ones(rows, dtype=torch.bool, device=tokens.device)
            return ConstrainedBeam(sentences, alive, no_step, no_step, state), torch.zeros(rows, device=tokens.device)
        words = self.columns.to_words(tokens[:, -1:], kept.sentences).squeeze(1)
        place, exists = self.constraint.columns(words, kept.sentences)
        alive = kept.alive & exists & kept.allowed.gather(1, place.unsqueeze(1)).squeeze(1)
        previous_scores = kept.scores.gather(1, place.unsqueeze(1)).squeeze(1)
        state = self.constraint.advance(kept.state, words, kept.sentences)
        return kept._replace(alive=alive, state=state), previous_scores

    def _score(
        self,
        member: EnsembleModel,
        scorer: Optional[CandidateScorer],
        words: Tensor,
        encoder_out,
        stored: Dict[str, Dict[str, Optional[Tensor]]],
        sentences: Tensor,
        temperature: float,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """One model's scores of the candidates (N, C): ``f``, or log-probabilities among all words.

        For a function that normalizes among the candidates, the sum over all words is left out.
        """
        if scorer is None:
            scores, attention = member.forward_decoder(words, [encoder_out], [stored], temperature)  # (N, V)
            return scores.gather(1, self.constraint.of(self.constraint.candidates, sentences)), attention
        decoder = member.single_model.decoder
        outputs, extra = decoder(words, encoder_out, incremental_state=stored, features_only=True)  # (N, 1, H)
        width = encoder_out.width
        scores = scorer(outputs.view(-1, width, outputs.size(2))).flatten(0, 1)  # (N, C)
        if self.prefix_score.normalized and self.constraint.among_candidates:
            scores = scores.div(temperature)
        elif self.prefix_score.normalized:
            weight, bias = decoder.scorer
            log_z = log_partition(outputs.squeeze(1).div(temperature), weight, bias.div(temperature))  # (N,)
            scores = scores.div(temperature) - log_z.unsqueeze(1)
        return scores, extra["attn"][0][:, -1]

    def reorder_incremental_state(self, incremental_states, new_order: Tensor) -> None:
        """Selects the hypotheses ``new_order`` (N,)."""
        super().reorder_incremental_state(incremental_states, new_order)
        before, self.beam = self.beam, self.beam.select(new_order)
        if new_order.numel() != before.sentences.numel():  # fairseq removed finished sentences
            beam = before.sentences.numel() // before.sentences.unique().numel()
            remaining = new_order[::beam].div(beam, rounding_mode="floor")
            self.scorers = [None if scorer is None else scorer.select(remaining) for scorer in self.scorers]

    def is_at_end(self, sentence: int, beam: int, end: int) -> bool:
        """Whether ``</s>`` is the only possible successor of all hypotheses of a sentence.

        ``sentence`` is its index among the sentences that are not finished.
        """
        kept = self.beam
        rows = slice(sentence * beam, (sentence + 1) * beam)
        of = self.constraint.of(self.constraint.candidates, kept.sentences[rows])
        return not bool((kept.allowed[rows] & (of != end)).any())


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
