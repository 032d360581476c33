"""Decoding under a successor function, in fairseq's own generator.

The generator works in *columns* in place of words: its "vocabulary" is the candidates of a sentence, a few hundred at
most, so neither scoring nor ranking ever looks at all words. Column c of a sentence stands for the word
``Columns.words[sentence, c]``; the first columns are fairseq's special symbols, which keep their ids. What the
generator finds is turned back into words at the end.
"""

import logging
import math
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator
from torch import Tensor, nn

from ..errors import UserError
from ..search.blockwise import log_partition
from ..search.candidate_search import CandidateScorer
from ..search.constraints import BatchConstraint, State
from ..search.scorer import Scorer
from .constraint import Constraint
from .unnormalized import common_prefix_score

logger = logging.getLogger(__name__)
SPECIAL = 4  # fairseq's <s>, <pad>, </s>, <unk>


class Columns(NamedTuple):
    """What the generator's columns stand for; G of them."""

    words: Tensor
    """(B, G) int64 the word of every column, padding where there is none"""
    places: Tensor
    """(B, C) int64 the column of every candidate"""

    @staticmethod
    def of(candidates: Tensor, sentences: int, padding: int, least: int) -> "Columns":
        """candidates (B, C) or (1, C); at least ``least`` columns."""
        candidates = candidates.expand(sentences, -1)
        special = torch.arange(SPECIAL, device=candidates.device).expand(sentences, -1)
        rest = candidates.new_full((sentences, max(least - SPECIAL - candidates.size(1), 0)), padding)
        places = torch.arange(candidates.size(1), device=candidates.device) + SPECIAL
        keeps_its_id = (candidates < SPECIAL) & (candidates != padding)
        return Columns(
            words=torch.cat([special, candidates, rest], 1),
            places=torch.where(keeps_its_id, candidates, places.expand_as(candidates)),
        )

    def spread(self, scores: Tensor, sentences: Tensor) -> Tensor:
        """Scores of candidates (N, C) -> of columns (N, G), ``-inf`` where there is no candidate."""
        spread = scores.new_full((scores.size(0), self.words.size(1)), -math.inf)
        return spread.scatter_(1, self.places.index_select(0, sentences), scores)

    def to_words(self, columns: Tensor, sentences: Tensor) -> Tensor:
        """columns (N, t) -> words (N, t)."""
        return self.words.index_select(0, sentences).gather(1, columns)


class Hypotheses(NamedTuple):
    """What is known of the N = b * K hypotheses on the beam."""

    sentences: Tensor
    """(N,) int64 in the batch as it came"""
    alive: Tensor
    """(N,) bool, False for what fairseq fills an empty beam with"""
    allowed: Tensor
    """(N, C) bool, the successors of the latest step"""
    scores: Tensor
    """(N, C) the scores of the latest step"""
    state: State
    """each (N, ...), of the successor function"""

    def select(self, index: Tensor) -> "Hypotheses":
        """The hypotheses ``index`` (N',)."""
        parts = [part.index_select(0, index) for part in self[:4]]
        return Hypotheses(*parts, tuple(part.index_select(0, index) for part in self.state))


class ConstrainedEnsemble(EnsembleModel):
    """Scores only what a successor function allows, in columns.

    Probabilities are averaged over softmax models, raw scores ``f`` over models without probabilities.
    """

    def __init__(self, models: List[nn.Module]) -> None:
        super().__init__(models)
        self.prefix_score = common_prefix_score(models)
        self.members = [EnsembleModel([model]) for model in models]
        self.hypotheses: Optional[Hypotheses] = None

    def begin(self, constraint: BatchConstraint, columns: Columns) -> None:
        """Turns to a new batch."""
        self.constraint, self.columns, self.hypotheses = constraint, columns, None
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
        """tokens (N, t) columns -> what each column adds to the score of a hypothesis (N, G), attention (N, S)."""
        known, before = self._follow(tokens)
        sentences, state = known.sentences, known.state
        allowed = self.constraint.allowed(state, sentences) & known.alive.unsqueeze(1)  # (N, C)
        words = self.columns.to_words(tokens, sentences)
        parts, attention = [], []
        for member, scorer, encoder_out, stored in zip(self.members, self.scorers, encoder_outs, incremental_states):
            scores, weights = self._score(member, scorer, words, encoder_out, stored, sentences, temperature)
            parts.append(scores)
            attention += [] if weights is None else [weights]
        scores = torch.stack(parts)  # (models, N, C)
        scores = scores.logsumexp(0) - math.log(len(parts)) if self.prefix_score.normalized else scores.mean(0)
        self.hypotheses = Hypotheses(sentences, known.alive, allowed, scores, state)
        step_scores = scores if self.prefix_score.cumulative else scores - before.unsqueeze(1)
        step_scores = step_scores.masked_fill(~allowed, -math.inf)
        return self.columns.spread(step_scores, sentences), torch.stack(attention).mean(0) if attention else None

    def _follow(self, tokens: Tensor) -> Tuple[Hypotheses, Tensor]:
        """The hypotheses after the newest column, and the scores (N,) that this column had."""
        rows, known = tokens.size(0), self.hypotheses
        if known is None:
            sentences = torch.arange(self.columns.words.size(0), device=tokens.device)
            sentences = sentences.repeat_interleave(rows // sentences.numel())
            state = tuple(part.index_select(0, sentences) for part in self.constraint.start())
            nothing = torch.empty(rows, 0, device=tokens.device)
            alive = torch.ones(rows, dtype=torch.bool, device=tokens.device)
            return Hypotheses(sentences, alive, nothing, nothing, state), torch.zeros(rows, device=tokens.device)
        words = self.columns.to_words(tokens[:, -1:], known.sentences).squeeze(1)
        place, exists = self.constraint.columns(words, known.sentences)
        alive = known.alive & exists & known.allowed.gather(1, place.unsqueeze(1)).squeeze(1)
        before = known.scores.gather(1, place.unsqueeze(1)).squeeze(1)
        state = self.constraint.advance(known.state, words, known.sentences)
        return known._replace(alive=alive, state=state), before

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
        """One model's scores of the candidates (N, C): ``f``, or log-probabilities among all words."""
        if scorer is None:
            scores, attention = member.forward_decoder(words, [encoder_out], [stored], temperature)  # (N, V)
            return scores.gather(1, self.constraint.of(self.constraint.candidates, sentences)), attention
        decoder = member.single_model.decoder
        outputs, extra = decoder(words, encoder_out, incremental_state=stored, features_only=True)  # (N, 1, H)
        width = encoder_out.width
        scores = scorer(outputs.view(-1, width, outputs.size(2))).flatten(0, 1)  # (N, C)
        if self.prefix_score.normalized:
            weight, bias = decoder.scorer
            totals = log_partition(outputs.squeeze(1).div(temperature), weight, bias.div(temperature))  # (N,)
            scores = scores.div(temperature) - totals.unsqueeze(1)
        return scores, extra["attn"][0][:, -1]

    def reorder_incremental_state(self, incremental_states, new_order: Tensor) -> None:
        """Selects hypotheses: ``new_order`` (N,)."""
        super().reorder_incremental_state(incremental_states, new_order)
        before, self.hypotheses = self.hypotheses, self.hypotheses.select(new_order)
        if new_order.numel() != before.sentences.numel():  # fairseq took out finished sentences
            beam = before.sentences.numel() // before.sentences.unique().numel()
            kept = new_order[::beam].div(beam, rounding_mode="floor")
            self.scorers = [None if scorer is None else scorer.select(kept) for scorer in self.scorers]

    def is_at_end(self, sentence: int, beam: int, end: int) -> bool:
        """Whether no hypothesis of the ``sentence``-th of those on the beam can go on but by ``</s>``."""
        now = self.hypotheses
        rows = slice(sentence * beam, (sentence + 1) * beam)
        of = self.constraint.of(self.constraint.candidates, now.sentences[rows])
        return not bool((now.allowed[rows] & (of != end)).any())


class ConstrainedGenerator(SequenceGenerator):
    """fairseq's generator under a constraint; takes the place of ``--max-len-a`` and ``--max-len-b`` where the
    successor function bounds the length.

    Args:
        constraint: makes the successor function of a batch.
    """

    def __init__(self, models, tgt_dict, constraint: Constraint, **options) -> None:
        super().__init__(ConstrainedEnsemble(models), tgt_dict, **options)
        self.constraint = constraint
        self.search.stop_on_max_len = True  # a sentence may have fewer outputs than the beam
        self.min_len = 0 if self.min_len == 1 else self.min_len  # fairseq's default; the function says when to end

    def _generate(
        self,
        sample: Dict[str, Dict[str, Tensor]],
        prefix_tokens: Optional[Tensor] = None,
        constraints: Optional[Tensor] = None,
        bos_token: Optional[int] = None,
    ) -> List[List[Dict[str, Tensor]]]:
        """The best hypotheses of every sentence, at least one; of no word and score ``-inf`` where none is allowed."""
        source = sample["net_input"]["src_tokens"]
        constraint = self.constraint(source)
        columns = Columns.of(constraint.candidates, source.size(0), self.pad, 2 * self.beam_size + 1)
        self.model.begin(constraint, columns)
        self.vocab_size = columns.words.size(1)
        if constraint.longest is not None:
            self._bound_length(int(constraint.longest.max()) - 1)
        if prefix_tokens is not None:
            prefix_tokens = self._prefix_columns(prefix_tokens, columns)
        found = super()._generate(sample, prefix_tokens, constraints, bos_token)
        for sentence, hypotheses in enumerate(found):
            for hypothesis in hypotheses:
                hypothesis["tokens"] = columns.words[sentence, hypothesis["tokens"]]
            if not hypotheses:
                hypotheses.append(self._nothing(source, sample.get("id"), sentence))
        return found

    def _bound_length(self, words: int) -> None:
        """Makes the longest output the limit of fairseq, which counts without ``</s>``."""
        if words > self.max_len - 1:
            raise UserError(
                f"--successors {self.constraint.name} gives an output of {words} words, but the model ends at "
                f"--max-target-positions {self.max_len}: leave out the sentence, or give --model-overrides "
                "\"{'max_target_positions': N}\" with a larger N"
            )
        self.max_len_a, self.max_len_b = 0, words

    def _prefix_columns(self, prefix: Tensor, columns: Columns) -> Tensor:
        """The words of ``--prefix-size`` (B, p) as columns."""
        same = columns.words.unsqueeze(1) == prefix.unsqueeze(2)  # (B, p, G)
        found = same.any(2)
        if not bool(found.all()):
            sentence, place = (~found).nonzero()[0].tolist()
            word = self.tgt_dict[int(prefix[sentence, place])]
            raise UserError(
                f"--prefix-size asks for the word {word!r}, which --successors {self.constraint.name} never allows "
                "there: leave out --prefix-size"
            )
        return same.long().argmax(2)

    def _nothing(self, source: Tensor, ids: Optional[Tensor], sentence: int) -> Dict[str, Tensor]:
        which = sentence if ids is None else int(ids[sentence])
        logger.warning(
            f"sentence {which}: no hypothesis on the beam came to an end that --successors {self.constraint.name} "
            "allows; its output is left empty"
        )
        return {
            "tokens": source.new_tensor([self.eos]),
            "score": torch.tensor(-math.inf, device=source.device),
            "attention": torch.empty(0),
            "alignment": torch.empty(0),
            "positional_scores": torch.tensor([-math.inf], device=source.device),
        }

    def is_finished(self, step: int, unfin_idx: int, max_len: int, finalized_sent_len: int, beam_size: int) -> bool:
        """Also true where no hypothesis can go on, so that a sentence does not wait for a full beam."""
        return super().is_finished(step, unfin_idx, max_len, finalized_sent_len, beam_size) or self.model.is_at_end(
            unfin_idx, beam_size, self.eos
        )
