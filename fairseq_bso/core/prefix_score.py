"""How a prefix is scored: what ``--scorer`` means to the search in training, to decoding and to export."""

from __future__ import annotations

from typing import Dict, NamedTuple


class PrefixScore(NamedTuple):
    """The local score ``l(w | prefix)`` of a word and the score ``s`` of a prefix.

    ``f(w | prefix) = W_out h~ + b`` is the output layer; all three have the same parameters.
    """

    name: str
    """what ``--scorer`` calls it"""
    normalized: bool
    """whether ``l`` is ``log softmax f``; otherwise it is ``f`` itself"""
    cumulative: bool
    """whether ``s`` is the sum of ``l`` over the words of a prefix; otherwise it is ``l`` of the last word alone"""


SCORERS: Dict[str, PrefixScore] = {
    score.name: score
    for score in (
        PrefixScore("softmax", normalized=True, cumulative=True),
        PrefixScore("summed", normalized=False, cumulative=True),
        PrefixScore("unnormalized", normalized=False, cumulative=False),  # Wiseman & Rush 2016
    )
}
