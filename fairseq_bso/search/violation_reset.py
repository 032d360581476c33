"""Violation-reset search: beam search in training that starts again from gold at every margin violation.

Wiseman & Rush 2016 (arXiv 1606.02960), section 4 and algorithm 1; the search of LaSO (Daume & Marcu 2005). A beam has K
slots. Slot 0 is the gold prefix, whose states the gold run already holds. Slots 1..K-1 are the other hypotheses, best
first. Time is counted from 0 here: step ``t`` ranks the candidates for word ``t``.

Scores are differences from the gold prefix of the same step. Gold's own difference is 0, so the search reads a gap
directly. If the score of a prefix is that of its last word alone, the next step starts from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, NamedTuple, Optional, Protocol, Tuple

import torch
from torch import Tensor

from .decoder import Decoder, GoldRun, Rows
from .scorer import Candidates
from .states import State, select
from .topk import best_of
from .violations import Decision, Rules, Trace, Violations


class BeamState(NamedTuple):
    """The W hypotheses of each sentence that a step keeps: K - 1 beside gold, or K in a search without gold."""

    rows: Rows
    """the beam slots of the hypotheses that may be extended"""
    outputs: Tensor
    """(R, H)"""
    states: Any
    """the model's states of these rows; ``()`` for none"""
    constraint_states: State
    """each (R, ...), the states of the constraint for these rows; ``()`` for none"""
    scores: Tensor
    """(B, W) float, the score minus that of the gold prefix; 0 if only the last word counts"""
    alive: Tensor
    """(B, W) bool, True for slots that hold a hypothesis that may be extended"""
    ended: Tensor
    """(B, W) int64, the length of a hypothesis that ended and stays in the comparison; 0 elsewhere"""


class Search(Protocol):
    """Finds the best next words: in the whole vocabulary, among a sentence's search words, or under a constraint."""

    gold_scores: Tensor
    """(B, T) local scores of the gold words"""
    gold_log_z: Optional[Tensor]
    """(T, B) exact ``log Z`` after every gold prefix, if the search has computed it"""
    gold_constraint_states: State
    """each (T, B, ...), the constraint's state after every gold prefix; empty without a constraint"""
    candidates: Optional[Tensor]
    """(B, C) or (1, C) int64, the words that may enter a beam; None allows any word"""

    def best_after_gold(self, k: int) -> Tuple[Tensor, Tensor]:
        """Local scores and words (T, B, k) of each gold prefix."""

    def best_of_others(self, kept: BeamState, t: int, k: int, only: Optional[int] = None) -> Candidates:
        """The best (B, k) of each sentence over the other hypotheses for word ``t``; slots from 0 to W - 1.

        ``only`` is the one word that may follow, if there is one."""

    def advance_constraint(self, states: State, words: Tensor, sentences: Tensor) -> State:
        """The constraint's states after one more word: states each (R, ...), words and sentences (R,)."""


class SearchResult(NamedTuple):
    """The result of one search of a batch."""

    trace: Trace
    violations: Violations


def violation_reset_search(
    gold: GoldRun, search: Search, decoder: Decoder, rules: Rules, live_rows_only: bool = True
) -> SearchResult:
    """Searches all sentences of a batch at once and returns the steps at which gold missed the margin.

    Args:
        gold: the gold run, detached.
        search: finds the best next words.
        decoder: extends hypotheses; called without gradient.
        rules: the rules of a violation.
        live_rows_only: compute only rows that hold a hypothesis. The host needs their number at each step, which costs
            nothing on a CPU. Otherwise all ``B * (K-1)`` rows are computed, and the loop never reads a value from the
            device.

    Raises:
        ValueError: if the rules are invalid.
    """
    rules.check()
    with torch.no_grad():
        trace = Searcher(gold, search, decoder, rules, live_rows_only).run()
        return SearchResult(trace, trace.violations(gold.words, rules))


@dataclass(frozen=True)
class Searcher:
    """The time loop; the arguments are those of ``violation_reset_search``."""

    gold: GoldRun
    search: Search
    decoder: Decoder
    rules: Rules
    live_rows_only: bool = True

    def run(self) -> Trace:
        """Searches from the first word to the last."""
        self._prepare_decoder()
        beam = self.rules.beam
        best, best_words = self.search.best_after_gold(beam)  # (T, B, K)
        time, sentences, _ = best.shape
        kept = self._empty_beam(best.new_zeros(sentences, beam - 1))
        decisions: List[Decision] = []
        for t in range(time):
            parts = [Candidates(best[t], torch.zeros_like(best_words[t]), best_words[t])]
            if kept.rows.slots.numel() > 0:
                others = self.search.best_of_others(kept, t, beam)
                parts.append(others._replace(slots=others.slots + 1))
            if self.rules.finished_lenpen is not None:
                parts.append(self._ended_candidates(kept, t))
            decisions.append(self._decide(_merge(parts, beam), kept, t))
            if t + 1 < time:
                kept = self._extend(decisions[-1], kept, t)
        slot_of_gold = self.gold.words.new_zeros(sentences, 1)
        parents = torch.stack([torch.cat([slot_of_gold, decision.slots], 1) for decision in decisions])  # (T, B, K)
        words = torch.stack([torch.cat([slot_of_gold, decision.words], 1) for decision in decisions])  # (T, B, K)
        return Trace(decisions, parents, words)

    def _prepare_decoder(self) -> None:
        """Announces the words that the decoder will embed, if they are fewer than the embeddings of the search."""
        words = None if self.search.candidates is None else self.search.candidates.unique()
        if words is not None and words.numel() >= self.gold.words.numel() * (self.rules.beam - 1):
            words = None
        self.decoder.prepare(words)

    def _empty_beam(self, scores: Tensor) -> BeamState:
        ended = torch.zeros_like(scores, dtype=torch.long)
        rows = Rows(ended.view(-1)[:0], scores.size(1), False)
        return BeamState(rows, self.gold.outputs[0, :0], (), (), scores, ended.bool(), ended)

    def _ended_candidates(self, kept: BeamState, t: int) -> Candidates:
        """The hypotheses that ended before, unchanged; at gold's last word, with the length penalty of decoding."""
        lenpen, scores = self.rules.finished_lenpen, kept.scores
        if lenpen:
            before = self.search.gold_scores[:, :t].sum(1, keepdim=True).to(scores.dtype)  # (B, 1) gold's own score
            longer = (t + 1) / kept.ended.clamp(min=1).to(scores.dtype)  # (B, W)
            measure = (scores + before) * longer**lenpen - before
            scores = torch.where((self.gold.lengths == t + 1).unsqueeze(1), measure, scores)
        scores = scores.masked_fill(kept.ended == 0, -torch.inf)
        slots = torch.arange(1, self.rules.beam, device=scores.device).expand_as(kept.ended)  # (B, W)
        return Candidates(scores, slots, torch.full_like(kept.ended, self.rules.padding))

    def _decide(self, candidates: Candidates, kept: BeamState, t: int) -> Decision:
        """Ranks gold among the candidates (B, K) of step ``t``, and decides on the violator and the next beam."""
        gold = self.gold
        scores = candidates.scores
        exists = scores > -torch.inf  # (B, K)
        slots, words = candidates.slots.masked_fill(~exists, 0), candidates.words.masked_fill(~exists, 0)
        is_gold = exists & (slots == 0) & (words == gold.words[:, t : t + 1])
        final = gold.lengths == t + 1  # (B,)
        active = gold.lengths > t  # (B,)
        place = _violator_place(is_gold, final)  # (B, 1)
        violator_score = scores.gather(1, place).squeeze(1)  # (B,)
        gold_score = self.search.gold_scores[:, t].to(violator_score.dtype)
        gap = gold_score - violator_score
        # With fewer than K candidates gold stays on the beam.
        threatened = torch.where(final, violator_score > -torch.inf, exists[:, -1])  # (B,)
        is_nan = gap.isnan()  # a NaN must reach the loss: it is a violation, and whatever is on the beam is a rival
        violated = active & (threatened & (gap < self.rules.margin) | is_nan)
        others = _other_places(is_gold)  # (B, W)
        next_slots, next_words = slots.gather(1, others), words.gather(1, others)
        is_kept = (active & ~final & ~violated).unsqueeze(1) & exists.gather(1, others)  # (B, W)
        ended = self._ended_lengths(kept, next_slots, next_words, t).masked_fill(~is_kept, 0)
        return Decision(
            violated=violated,
            gap=gap,
            violator_slot=slots.gather(1, place).squeeze(1),
            violator_word=words.gather(1, place).squeeze(1),
            exists=exists.gather(1, others) | is_nan.unsqueeze(1),
            slots=next_slots,
            words=next_words,
            scores=scores.gather(1, others) - gold_score.unsqueeze(1),
            alive=is_kept & (next_words != self.rules.end) & (ended == 0),
            ended=ended,
        )

    def _ended_lengths(self, kept: BeamState, slots: Tensor, words: Tensor, t: int) -> Tensor:
        """(B, W) the lengths of kept hypotheses that have ended, if those stay; else 0."""
        if self.rules.finished_lenpen is None:
            return torch.zeros_like(words)
        before = kept.ended.gather(1, (slots - 1).clamp(min=0)).masked_fill(slots == 0, 0)
        return torch.where(words == self.rules.end, torch.full_like(words, t + 1), before)

    def _extend(self, decision: Decision, kept: BeamState, t: int) -> BeamState:
        """Feeds the kept words to the decoder and returns the other hypotheses one step later.

        One index selects the states of the model and of the constraint, and resets both to gold's.
        """
        rows = Rows.of(decision.alive, self.live_rows_only)
        scores = decision.scores if self.rules.cumulative else torch.zeros_like(decision.scores)
        if rows.slots.numel() == 0:
            return self._empty_beam(scores)._replace(alive=decision.alive, ended=decision.ended)
        source = _sources(decision, kept, rows)
        gold_states = tuple(part[t] for part in self.search.gold_constraint_states)  # each (B, ...)
        constraint_states = select(gold_states, kept.constraint_states, source)
        words = decision.words.view(-1)[rows.slots]
        outputs, states = self.decoder.extend(t, kept.states, source, words, rows)
        constraint_states = self.search.advance_constraint(constraint_states, words, rows.sentences)
        return BeamState(rows, outputs, states, constraint_states, scores, decision.alive, decision.ended)


def _violator_place(is_gold: Tensor, final: Tensor) -> Tensor:
    """The place (B, 1) of the violator among the K candidates: it is at an end, or next to gold at an end.

    It is a violator only if gold does not beat it by the margin.

    Args:
        is_gold: (B, K) bool, whether a candidate is gold.
        final: (B,) bool, whether gold's last word is ranked. The violator is then the first candidate that is not
            gold, otherwise the last one.
    """
    last = is_gold.size(1) - 1
    return torch.where(final, is_gold[:, 0].long(), last - is_gold[:, -1].long()).unsqueeze(1)


def _other_places(is_gold: Tensor) -> Tensor:
    """The places (B, W) of the candidates (B, K) other than gold, in order.

    If gold is not among the K candidates, there is a violation, and the last candidate is left out.
    """
    sentences, beam = is_gold.shape
    places = torch.arange(beam, device=is_gold.device)  # (K,)
    gold_place = places.expand_as(is_gold).masked_fill(~is_gold, beam - 1).amin(1, keepdim=True)  # (B, 1)
    others = places[: beam - 1].expand(sentences, -1)
    return others + (others >= gold_place).long()


def _sources(decision: Decision, kept: BeamState, rows: Rows) -> Tensor:
    """(R,) the index of each row's parent among the B gold prefixes and then the rows of the other hypotheses."""
    parent, count = decision.slots.view(-1)[rows.slots], decision.slots.size(0)  # 0 is gold, k is slot k - 1 of others
    slots = rows.sentences * rows.width + (parent - 1).clamp(min=0)  # (R,) in the flat beam of ``kept``
    return torch.where(parent == 0, rows.sentences, count + kept.rows.row_of_slot(count)[slots])


def _merge(parts: List[Candidates], beam: int) -> Candidates:
    """The best candidates of all parts; ties go to the earlier part, then to the earlier place in it."""
    if len(parts) == 1:
        return parts[0]
    scores, places = best_of(torch.cat([part.scores for part in parts], 1), beam)
    slots = torch.cat([part.slots for part in parts], 1).gather(1, places)
    return Candidates(scores, slots, torch.cat([part.words for part in parts], 1).gather(1, places))
