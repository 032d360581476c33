"""The models of constrained decoding: one or an ensemble, which score the candidates of a sentence in columns.

``constrained`` defines columns. C is the number of candidates of a sentence, G of columns.
"""

import math
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from fairseq.sequence_generator import EnsembleModel
from torch import Tensor, nn

from ..blockwise import log_partition
from ..search.candidate_search import CandidateScorer
from ..search.constraints import BatchConstraint
from ..search.scorer import Scorer
from ..search.states import State
from .columns import Columns
from .unnormalized import common_prefix_score


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

        For a constraint that normalizes among the candidates, the sum over all words is left out.
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
        """Whether only ``</s>`` may follow all hypotheses of a sentence.

        ``sentence`` is its index among the sentences that are not finished.
        """
        kept = self.beam
        rows = slice(sentence * beam, (sentence + 1) * beam)
        of = self.constraint.of(self.constraint.candidates, kept.sentences[rows])
        return not bool((kept.allowed[rows] & (of != end)).any())
