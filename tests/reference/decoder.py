"""A model for the tests of the search, with known scores: ``f(w | prefix)`` of word w is an entry of a table.

Its row is a hash of the sentence and the prefix. ``TableDecoder`` serves the fast search, ``table_score`` the slow one.
"""

import math
from typing import Dict, List, Optional, Sequence, Tuple

import pytest
import torch
from torch import Tensor

from fairseq_bso.search.decoder import GoldRun, Rows
from fairseq_bso.search.recurrent import RecurrentDecoder
from fairseq_bso.search.scorer import SCORERS, PrefixScore, Scorer

Prefix = Tuple[int, ...]
MULTIPLIER = 31
STATES = 227


def state_of(states: int, sentence: int, prefix: Prefix) -> int:
    """The hash of ``prefix``, from 0 to ``states`` - 1."""
    state = sentence
    for word in prefix:
        state = (state * MULTIPLIER + word + 1) % states
    return state


def table_score(table: Tensor, sentence: int, prefix: Prefix) -> List[float]:
    """The row of the table at the hash of ``prefix``."""
    return table[state_of(table.size(0), sentence, prefix)].tolist()


def table_of(scores: Dict[Prefix, Dict[int, float]], words: int, states: int) -> Tensor:
    """A table with one row per prefix of sentence 0 in ``scores``, prefix -> word -> score; 0 elsewhere."""
    table = torch.zeros(states, words, dtype=torch.float64)
    for prefix, row in scores.items():
        for word, value in row.items():
            table[state_of(states, 0, prefix), word] = value
    return table


def local_scores(table, sentence, scorer, barred=()):
    """``l(w | prefix)`` of one sentence, in plain Python."""

    def score(prefix):
        values = table_score(table, sentence, prefix)
        if scorer.normalized:
            total = math.log(sum(math.exp(value) for value in values))
            values = [value - total for value in values]
        return [-math.inf if word in barred else value for word, value in enumerate(values)]

    return score


def tensor_scores(table, sentence, scorer):
    """As ``local_scores``, with gradient and with padding."""

    def score(prefix):
        row = table[state_of(table.size(0), sentence, prefix)]
        return row.log_softmax(0) if scorer.normalized else row

    return score


def without_ties(table: Tensor, liked: Sequence[Prefix] = ()) -> Tensor:
    """The rows of the table in turn, with scores that all differ by far more than rounding.

    There are so many states that no two outputs of up to 7 words among 7 pass through the same ones. Otherwise sums
    would be equal but for rounding. ``liked`` are the gold outputs (of the first, second ... sentence) whose words
    score 4 more.
    """
    generator = torch.Generator().manual_seed(0)
    rows = table[torch.arange(STATES) % table.size(0)]
    made = rows + torch.rand(rows.shape, generator=generator, dtype=table.dtype) / 4
    for sentence, words in enumerate(liked):
        state = sentence
        for word in words:
            made[state, word] += 4
            state = (state * MULTIPLIER + word + 1) % STATES
    return made


def same_violations(fast, slow, tolerance=1e-9):
    assert [violation[:4] for violation in fast] == [violation[:4] for violation in slow]
    for ours, theirs in zip(fast, slow):
        assert ours[4] == pytest.approx(theirs[4], abs=tolerance)


class TableDecoder(RecurrentDecoder):
    """The state of a hypothesis is its hash; its output is one-hot in the hash, and the scorer's weight is the table.

    ``calls`` notes the number of rows of every ``advance``.
    """

    def __init__(
        self, table: Tensor, prefix_score: PrefixScore = SCORERS["unnormalized"], padding: int = -1, end: int = 0
    ) -> None:
        self.table = table  # (N, V)
        self.prefix_score, self.padding, self.end = prefix_score, padding, end
        # weight (V, N): the score of word w at hash n is ``table[n, w]``.
        self.scorer = Scorer(table.t().contiguous(), table.new_zeros(table.size(1)))
        self.calls: List[int] = []

    def output(self, state: Tensor) -> Tensor:
        """(R,) -> (R, N)."""
        return torch.eye(self.table.size(0), dtype=self.table.dtype)[state]

    def prepare(self, words: Optional[Tensor]) -> None:
        """Nothing is prepared."""

    def embed(self, words: Tensor, sentences: Tensor, times: Tensor) -> Tensor:
        """Words pass as they are, one column: (N,) -> (N, 1)."""
        return words.unsqueeze(1)

    def advance(self, inputs: Tensor, states: Tuple[Tensor, ...], rows: Rows, times: Tensor):
        """(R, 1), ((R,),) -> (R, N), ((R,),)."""
        self.calls.append(inputs.size(0))
        state = (states[0] * MULTIPLIER + inputs.squeeze(1) + 1) % self.table.size(0)
        return self.output(state), (state,)

    def gold_run(self, words: Tensor, lengths: Tensor) -> GoldRun:
        """Runs along words (B, T)."""
        state = torch.arange(words.size(0))
        states = []
        for t in range(words.size(1)):
            states.append(state)
            state = (state * MULTIPLIER + words[:, t] + 1) % self.table.size(0)
        stacked = torch.stack(states)  # (T, B)
        self.gold_states = (stacked,)
        return GoldRun(words, lengths, self.output(stacked))
