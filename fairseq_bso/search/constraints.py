"""Constraints: which words may follow a prefix. Wiseman & Rush 2016, section 4.2, call one a successor function.

The same object serves the search in training, validation and decoding. Its state of a hypothesis has the form of a
model's states (``states``). A search therefore selects, reorders and resets both with one index.

A new constraint is a class with ``candidates`` and the methods that it needs of ``start``, ``allowed`` and
``advance``:

    class NoRepeats(BatchConstraint):  # no word of the source twice
        def __init__(self, words, lengths, vocabulary):
            super().__init__(sorted_candidates(words, lengths, vocabulary), vocabulary.padding)

        def start(self):
            return (torch.zeros_like(self.candidates, dtype=torch.bool),)  # (B, C)

        def allowed(self, state, sentences):
            return ~state[0] & self.exists(sentences)

        def advance(self, state, words, sentences):
            return (state[0] | (self.candidates[sentences] == words.unsqueeze(1)),)

    register_successors("no_repeats", NoRepeats)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..registry import Registry
from .states import State

LEFT, RIGHT = "@L_", "@R_"


@dataclass(frozen=True)
class Vocabulary:
    """The parts of the target dictionary that a constraint may use."""

    symbols: Sequence[str]
    """the word of every id"""
    padding: int
    end: int
    unknown: int
    shortlist: Any = None
    """the ShortlistTable of ``--successors shortlist``"""
    _found: Dict[Tuple[str, ...], List[int]] = field(default_factory=dict, compare=False)

    def starting_with(self, *prefixes: str) -> List[int]:
        """The ids, ascending, of symbols that start with one of the prefixes; looked up once for all batches."""
        if prefixes not in self._found:
            self._found[prefixes] = [word for word, symbol in enumerate(self.symbols) if symbol.startswith(prefixes)]
        return self._found[prefixes]


class BatchConstraint:
    """A constraint for one batch of sentences. The base class allows any candidate at any time.

    Args:
        candidates: (B, C) int64 word ids, or (1, C) if all sentences share them; each word once, in ascending order,
            then padding.
        padding: the id that pads rows.
        longest: (B,) int64, the maximum number of words of an output, including ``</s>``; None if there is no bound.
    """

    reads_source = False
    """whether its words are ids of the source dictionary; otherwise they are ids of the target dictionary"""
    takes_gold = False
    """whether it takes the targets of training as a fourth argument, and allows them all"""
    among_candidates = False
    """whether decoding normalizes probabilities among the candidates; otherwise it does so among all words"""
    decides_end = True
    """whether it decides when an output may end; otherwise fairseq's ``--min-len`` does"""

    def __init__(self, candidates: Tensor, padding: int, longest: Optional[Tensor] = None) -> None:
        self.candidates, self.padding, self.longest = candidates, padding, longest

    def exists(self, sentences: Tensor) -> Tensor:
        """sentences (N,) -> (N, C) bool, True for columns that hold a candidate."""
        return self.of(self.candidates != self.padding, sentences)

    def of(self, table: Tensor, sentences: Tensor) -> Tensor:
        """The rows of a table like ``candidates`` that belong to ``sentences`` (N,) -> (N, C)."""
        return table.expand(sentences.numel(), -1) if table.size(0) == 1 else table.index_select(0, sentences)

    def start(self) -> State:
        """The state before the first word: each (B, ...)."""
        return ()

    def allowed(self, state: State, sentences: Tensor) -> Tensor:
        """Mask of the candidates that may come next.

        Args:
            state: each (N, ...).
            sentences: (N,) int64.

        Returns:
            (N, C) bool.
        """
        return self.exists(sentences)

    def advance(self, state: State, words: Tensor, sentences: Tensor) -> State:
        """The state after ``words`` (N,); it is meaningless after a word that was not allowed."""
        return state

    def columns(self, words: Tensor, sentences: Tensor) -> Tuple[Tensor, Tensor]:
        """words, sentences (N,) -> the column of each word (N,), and whether the word is a candidate (N,)."""
        same = (self.of(self.candidates, sentences) == words.unsqueeze(1)) & self.exists(sentences)  # (N, C)
        return same.long().argmax(1), same.any(1)


Factory = Callable[[Tensor, Tensor, Vocabulary], BatchConstraint]
_FACTORIES: Registry[Factory] = Registry("constraint", "register_successors", reserved=("none",))
constraint_factory = _FACTORIES.get


def register_successors(name: str, factory: Factory) -> None:
    """Registers a constraint for ``--successors``.

    Args:
        name: the value of ``--successors``.
        factory: called with the source words (B, S) int64, their lengths (B,), and the Vocabulary; returns
            BatchConstraint. The words are ids of the target dictionary, left-aligned and without ``</s>``.

    Raises:
        TypeError: if the name is not a string.
        ValueError: if the name is taken.
    """
    _FACTORIES.add(name, factory)


def sorted_candidates(words: Tensor, lengths: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Each word of a sentence and ``</s>`` once, ascending: (B, S), (B,) -> (B, S + 1), padding last."""
    exists = torch.arange(words.size(1), device=words.device) < lengths.unsqueeze(1)  # (B, S)
    words, exists = F.pad(words, (0, 1), value=vocabulary.end), F.pad(exists, (0, 1), value=True)
    return distinct(words, exists, vocabulary.padding)


def distinct(words: Tensor, exists: Tensor, padding: int) -> Tensor:
    """The words of each row that exist, each once, ascending, then padding: (B, N) int64, (B, N) bool -> (B, N)."""
    beyond = torch.iinfo(words.dtype).max  # sorts after every word
    words = words.masked_fill(~exists, beyond).sort(1).values
    repeated = F.pad(words[:, 1:] == words[:, :-1], (1, 0), value=False)
    words = words.masked_fill(repeated, beyond).sort(1).values
    return words.masked_fill(words == beyond, padding)


class WordOrder(BatchConstraint):
    """``word_order``: every source word, as often as it is in the source, then ``</s>`` (section 5.2)."""

    def __init__(self, words: Tensor, lengths: Tensor, vocabulary: Vocabulary) -> None:
        candidates = sorted_candidates(words, lengths, vocabulary)  # (B, C)
        super().__init__(candidates, vocabulary.padding, lengths + 1)
        place = torch.arange(words.size(1), device=words.device)  # (S,)
        words = words.masked_fill(place >= lengths.unsqueeze(1), -1)
        self.counts = (candidates.unsqueeze(2) == words.unsqueeze(1)).sum(2).int()  # (B, C)
        self.is_end = candidates == vocabulary.end

    def start(self) -> State:
        """The remaining count of each candidate: (B, C) int32."""
        return (self.counts,)

    def allowed(self, state: State, sentences: Tensor) -> Tensor:
        """(N, C) bool."""
        left = state[0] > 0
        return left | (self.is_end.index_select(0, sentences) & ~left.any(1, keepdim=True))

    def advance(self, state: State, words: Tensor, sentences: Tensor) -> State:
        """Lowers the count of each word by one."""
        used = self.candidates.index_select(0, sentences) == words.unsqueeze(1)  # (N, C)
        return (state[0] - used.int(),)


class ArcStandard(BatchConstraint):
    """``arc_standard``: the derivation of a dependency tree (section 5.3; Nivre 2004).

    An output is the source words in order, each a shift, interleaved with reduce labels. ``@L_rel`` attaches the second
    item of the stack to the top one, and ``@R_rel`` attaches the top one to the second. The dependent leaves the stack.
    A reduce needs two items; ``</s>`` needs an empty buffer and one item. So n words take n shifts and n - 1 reduces.
    """

    def __init__(self, words: Tensor, lengths: Tensor, vocabulary: Vocabulary) -> None:
        labels = vocabulary.starting_with(LEFT, RIGHT)
        if not labels:
            raise ValueError(
                f"the target dictionary has no reduce label, a symbol that starts with {LEFT} or {RIGHT}: prepare the "
                "data as user_dir_examples/dependency_parsing does"
            )
        sentences = words.size(0)
        reduces = words.new_tensor(labels)  # (R,)
        self.is_reduce = torch.zeros(len(vocabulary.symbols) + 1, dtype=torch.bool, device=words.device)  # (V + 1,)
        self.is_reduce[reduces] = True
        # A source word with the form of a label is indistinguishable from that label; it is no candidate for a shift.
        own = sorted_candidates(words, lengths, vocabulary)
        own = own.masked_fill(self.is_reduce[own] | (own == vocabulary.padding), len(vocabulary.symbols))
        candidates = torch.cat([own, reduces.expand(sentences, -1)], 1).sort(1).values  # (B, S + 1 + R)
        candidates = candidates.masked_fill(candidates == len(vocabulary.symbols), vocabulary.padding)
        super().__init__(candidates, vocabulary.padding, (2 * lengths).clamp(min=1))
        self.words, self.lengths = words, lengths
        self.reduces, self.is_end = self.is_reduce[candidates], candidates == vocabulary.end  # (B, C)

    def start(self) -> State:
        """Number of words shifted and of items on the stack: (B,) int64 each."""
        return (torch.zeros_like(self.lengths), torch.zeros_like(self.lengths))

    def allowed(self, state: State, sentences: Tensor) -> Tensor:
        """(N, C) bool."""
        shifted, stack = state
        lengths = self.lengths.index_select(0, sentences)
        buffered = shifted < lengths  # (N,)
        place = shifted.clamp(max=max(self.words.size(1) - 1, 0)).unsqueeze(1)
        words = self.words.index_select(0, sentences)
        upcoming = words.gather(1, place) if self.words.size(1) > 0 else sentences.new_full((sentences.numel(), 1), -1)
        reduces = self.reduces.index_select(0, sentences)
        shift = (self.candidates.index_select(0, sentences) == upcoming) & buffered.unsqueeze(1) & ~reduces
        reduce = reduces & (stack >= 2).unsqueeze(1)
        ends = ~buffered & (stack == lengths.clamp(max=1))  # an empty sentence has an empty stack
        return shift | reduce | (self.is_end.index_select(0, sentences) & ends.unsqueeze(1))

    def advance(self, state: State, words: Tensor, sentences: Tensor) -> State:
        """A reduce takes one item from the stack; any other word is shifted onto it."""
        shifted, stack = state
        reduce = self.is_reduce[words].long()
        return (shifted + 1 - reduce, stack + 1 - 2 * reduce)


register_successors("word_order", WordOrder)
register_successors("arc_standard", ArcStandard)


def states_along(constraint: BatchConstraint, words: Tensor) -> State:
    """The state before each word of (B, T): each (T, B, ...)."""
    sentences = torch.arange(words.size(0), device=words.device)  # (B,)
    state = constraint.start()
    history: List[State] = []
    for column in words.t():
        history.append(state)
        state = constraint.advance(state, column, sentences)
    return tuple(torch.stack(part) for part in zip(*history))


def allowed_along(constraint: BatchConstraint, states: State, words: Tensor) -> Tensor:
    """Mask of the candidates that may follow each prefix of (B, T), given its ``states_along``: (T, B, C) bool."""
    count, time = words.shape
    sentences = torch.arange(count, device=words.device).repeat(time)  # (T * B,)
    flat = tuple(part.flatten(0, 1) for part in states)
    return constraint.allowed(flat, sentences).view(time, count, -1)


def first_disallowed(constraint: BatchConstraint, words: Tensor, lengths: Tensor) -> Tensor:
    """(B, T), (B,) -> (B,) int64 the first word (from 0) that may not follow its prefix; -1 if all may."""
    count, time = words.shape
    sentences = torch.arange(count, device=words.device).repeat(time)  # (T * B,)
    allowed = allowed_along(constraint, states_along(constraint, words), words)  # (T, B, C)
    columns, known = constraint.columns(words.t().reshape(-1), sentences)
    good = allowed.flatten(0, 1).gather(1, columns.unsqueeze(1)).squeeze(1) & known
    places = torch.arange(time, device=words.device).unsqueeze(1)  # (T, 1)
    wrong = ~good.view(time, count) & (places < lengths)  # (T, B)
    return torch.where(wrong.any(0), wrong.long().argmax(0), torch.full_like(lengths, -1))
