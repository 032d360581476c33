"""Which words may follow a prefix (Wiseman & Rush 2016, section 4.2): fairseq_bso/search/constraints.py in numpy.

A constraint here belongs to one sentence. Its state is an array with the W hypotheses on the first axis. Its
candidates are C word ids of the target dictionary. Only the kinds below can be used with an exported model: one that a
user has registered stays in fairseq_bso.
"""

from typing import Dict, List, NamedTuple, Protocol, Sequence, Type

import numpy as np

from .vocabulary import END, PAD, UNKNOWN, Tokenizer

Array = np.ndarray
LEFT, RIGHT = "@L_", "@R_"


class Words(NamedTuple):
    """The arguments of a constraint."""

    source: Array
    """(n,) the sentence's words as ids of the target dictionary, without `</s>`"""
    labels: Array
    """the ids of all reduce labels"""


class SentenceConstraint(Protocol):
    """A constraint of one sentence."""

    candidates: Array
    """(C,) word ids"""
    longest: int
    """how many words an output has at most, without `</s>`"""

    def __init__(self, words: Words) -> None: ...

    def start(self) -> Array:
        """The state of the empty prefix: (1, ...)."""

    def allowed(self, state: Array) -> Array:
        """Which candidates may follow: (W, C) bool."""

    def advance(self, state: Array, words: Array) -> Array:
        """The state after `words` (W,), one for each hypothesis."""


class WordOrder:
    """`word_order`: every source word as often as the source has it, then `</s>`."""

    def __init__(self, words: Words) -> None:
        distinct, counts = np.unique(words.source, return_counts=True)
        self.candidates, self.counts = np.append(distinct, END), counts  # (C,), (C - 1,)
        self.longest = len(words.source)

    def start(self) -> Array:
        """How often each word is left: (1, C - 1)."""
        return self.counts[None]

    def allowed(self, state: Array) -> Array:
        """(W, C) bool."""
        left = state > 0
        return np.concatenate([left, ~left.any(1, keepdims=True)], 1)

    def advance(self, state: Array, words: Array) -> Array:
        """One fewer of each of `words` (W,)."""
        return state - (words[:, None] == self.candidates[:-1])


class ArcStandard:
    """`arc_standard`: the derivation of a dependency tree (Nivre 2004).

    The source words are shifted in order onto a stack. A reduce label between them takes one item from a stack that
    holds at least two. `</s>` comes when all words are shifted and one item is left.
    """

    def __init__(self, words: Words) -> None:
        if not len(words.labels):
            raise ValueError(f"the target dictionary has no reduce label, a symbol that starts with {LEFT} or {RIGHT}")
        self.source, self.labels = words.source, words.labels
        # A source word that looks like a label cannot be distinguished from it: it is no candidate for a shift.
        shiftable = np.setdiff1d(words.source, words.labels)
        self.candidates = np.concatenate([shiftable, words.labels, [END]])  # (C,)
        self.shiftable, self.longest = len(shiftable), max(2 * len(words.source) - 1, 0)

    def start(self) -> Array:
        """Words shifted and items on the stack: (1, 2)."""
        return np.zeros((1, 2), int)

    def allowed(self, state: Array) -> Array:
        """(W, C) bool."""
        shifted, stack = state[:, :1], state[:, 1:]
        count = len(self.source)
        upcoming = np.append(self.source, PAD)[shifted.clip(0, count)]  # (W, 1)
        shift = self.candidates[: self.shiftable] == upcoming
        reduce = np.repeat(stack >= 2, len(self.labels), 1)
        return np.concatenate([shift, reduce, (shifted >= count) & (stack == min(count, 1))], 1)

    def advance(self, state: Array, words: Array) -> Array:
        """A reduce takes one item from the stack; any other of `words` (W,) is shifted onto it."""
        reduce = np.isin(words, self.labels)
        return state + np.where(reduce[:, None], [0, -1], [1, 1])


KINDS: Dict[str, Type[SentenceConstraint]] = {"word_order": WordOrder, "arc_standard": ArcStandard}


class Constraint:
    """A kind of constraint with the dictionaries of a model: sentences in, constraints out.

    Args:
        name: `word_order` or `arc_standard`.
        tokenizer: has both dictionaries.

    Raises:
        ValueError: another name, or dictionaries that do not fit.
    """

    def __init__(self, name: str, tokenizer: Tokenizer) -> None:
        if name not in KINDS:
            raise ValueError(f"unknown constraint: choose from none, {', '.join(KINDS)}")
        self.kind = KINDS[name]
        target_ids = {symbol: word for word, symbol in enumerate(tokenizer.target_symbols)}
        self.target_word = np.array([target_ids.get(symbol, UNKNOWN) for symbol in tokenizer.source_symbols])  # (V,)
        labels = [word for word, symbol in enumerate(tokenizer.target_symbols) if symbol.startswith((LEFT, RIGHT))]
        self.labels = np.array(labels, int)
        self([END])  # refuses dictionaries that do not fit, before any sentence is read

    def too_long(self, source: Sequence[int], positions: int) -> bool:
        """Whether the output of a sentence, `</s>` included, has more words than the model has positions."""
        return self(source).longest >= positions

    def __call__(self, source: Sequence[int]) -> SentenceConstraint:
        """Word ids of a sentence -> its constraint."""
        words = np.array([word for word in source if word not in (PAD, END)], int)
        return self.kind(Words(self.target_word[words], self.labels))


class BatchConstraint:
    """The constraints of b sentences along the search.

    Args:
        constraints: one for each sentence.
    """

    def __init__(self, constraints: Sequence[SentenceConstraint]) -> None:
        self.constraints: List[SentenceConstraint] = list(constraints)
        self.states = [constraint.start() for constraint in constraints]

    def limits(self) -> Array:
        """(b,) how many words an output has at most, without `</s>`."""
        return np.array([constraint.longest for constraint in self.constraints])

    def restrict(self, values: Array) -> None:
        """Sets the scores (b, W, V) of words that may not come to -inf."""
        for block, constraint, state in zip(values, self.constraints, self.states):
            scores = np.where(constraint.allowed(state), block[:, constraint.candidates], -np.inf)  # (W, C)
            block[:] = -np.inf
            block[:, constraint.candidates] = scores

    def advance(self, kept: Array, rows: Array, words: Array) -> None:
        """Drops finished sentences, and advances the states of the others by one word.

        Args:
            kept: (k,) the indices, among the b, of the sentences that are not finished.
            rows: (R,) the parents of their hypotheses, equally many for each sentence, among all rows before.
            words: (R,) the words that extend them.
        """
        width = len(self.states[0])
        rows = rows.reshape(len(kept), -1) - kept[:, None] * width  # (k, K)
        self.constraints = [self.constraints[sentence] for sentence in kept]
        states = [self.states[sentence] for sentence in kept]
        self.states = [
            constraint.advance(state[parents], new)
            for constraint, state, parents, new in zip(self.constraints, states, rows, words.reshape(rows.shape))
        ]
