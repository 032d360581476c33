"""Which words may follow a prefix (Wiseman & Rush 2016, section 4.2), in numpy: as fairseq_bso/search/constraints.py.

Here a successor function is of one sentence. It remembers of its W hypotheses an array with the hypothesis on the first
axis; its candidates are C word numbers of the target dictionary.
"""

from typing import Callable, Dict, List, NamedTuple, Sequence

import numpy as np

from .vocabulary import END, PAD, UNKNOWN, Text

Array = np.ndarray
LEFT, RIGHT = "@L_", "@R_"


class Words(NamedTuple):
    """What a successor function is made of."""

    source: Array
    """(n,) the sentence's words as numbers of the target dictionary, without `</s>`"""
    labels: Array
    """the numbers of all reduce labels"""


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
    """`arc_standard`: the derivation of a dependency tree (Nivre 2004). The source words in order are shifts, reduce
    labels between them take an item from a stack that holds two; `</s>` comes when all are shifted and one is left."""

    def __init__(self, words: Words) -> None:
        if not len(words.labels):
            raise ValueError(f"the target dictionary has no reduce label, a symbol that starts with {LEFT} or {RIGHT}")
        self.source, self.labels = words.source, words.labels
        # A source word that looks like a label cannot be told from it; it stands for nothing here.
        own = np.setdiff1d(words.source, words.labels)
        self.candidates = np.concatenate([own, words.labels, [END]])  # (C,)
        self.own, self.longest = len(own), max(2 * len(words.source) - 1, 0)

    def start(self) -> Array:
        """Words shifted and items on the stack: (1, 2)."""
        return np.zeros((1, 2), int)

    def allowed(self, state: Array) -> Array:
        """(W, C) bool."""
        shifted, stack = state[:, :1], state[:, 1:]
        count = len(self.source)
        upcoming = np.append(self.source, PAD)[shifted.clip(0, count)]  # (W, 1)
        shift = self.candidates[: self.own] == upcoming
        reduce = np.repeat(stack >= 2, len(self.labels), 1)
        return np.concatenate([shift, reduce, (shifted >= count) & (stack == min(count, 1))], 1)

    def advance(self, state: Array, words: Array) -> Array:
        """A reduce takes one item from the stack, any other of `words` (W,) is shifted onto it."""
        reduce = np.isin(words, self.labels)
        return state + np.where(reduce[:, None], [0, -1], [1, 1])


KINDS: Dict[str, Callable] = {"word_order": WordOrder, "arc_standard": ArcStandard}


class Constraint:
    """A successor function bound to the dictionaries of a model: sentences in, successor functions out.

    Args:
        name: `word_order` or `arc_standard`.
        text: both dictionaries.

    Raises:
        ValueError: for another name, or dictionaries that it does not fit.
    """

    def __init__(self, name: str, text: Text) -> None:
        if name not in KINDS:
            raise ValueError(f"unknown successor function: choose from none, {', '.join(KINDS)}")
        self.kind = KINDS[name]
        target = {symbol: number for number, symbol in enumerate(text.symbols)}
        self.target_word = np.array(
            [target.get(symbol, UNKNOWN) for symbol in text.source_symbols]
        )  # (source vocabulary,)
        labels = [number for number, symbol in enumerate(text.symbols) if symbol.startswith((LEFT, RIGHT))]
        self.labels = np.array(labels, int)
        self([END])  # the dictionaries are looked at once, here

    def __call__(self, source: Sequence[int]):
        """Word numbers of a sentence -> its successor function."""
        words = np.array([word for word in source if word not in (PAD, END)], int)
        return self.kind(Words(self.target_word[words], self.labels))


class Followed:
    """The successor functions of b sentences along the search.

    Args:
        functions: one for each sentence.
    """

    def __init__(self, functions: List) -> None:
        self.functions, self.states = functions, [function.start() for function in functions]

    def limits(self) -> Array:
        """(b,) how many words the longest output has, `</s>` not counted."""
        return np.array([function.longest for function in self.functions])

    def restrict(self, values: Array) -> None:
        """Sets scores (b, W, V) of words that may not come to -inf."""
        for block, function, state in zip(values, self.functions, self.states):
            scores = np.where(function.allowed(state), block[:, function.candidates], -np.inf)  # (W, C)
            block[:] = -np.inf
            block[:, function.candidates] = scores

    def advance(self, kept: Array, rows: Array, words: Array) -> None:
        """Goes on with the sentences at `kept` (k,), each with as many of the hypotheses `rows` (R,) of all, and with
        their `words` (R,)."""
        width = len(self.states[0])
        rows = rows.reshape(len(kept), -1) - kept[:, None] * width  # (k, K)
        self.functions = [self.functions[one] for one in kept]
        states = [self.states[one] for one in kept]
        self.states = [
            function.advance(state[own], new)
            for function, state, own, new in zip(self.functions, states, rows, words.reshape(rows.shape))
        ]
