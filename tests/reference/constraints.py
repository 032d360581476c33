"""Constraints in plain Python: the words that may follow a prefix, computed from its start each time."""

from collections import Counter
from typing import Sequence, Set


def word_order(source: Sequence[int], prefix: Sequence[int], end: int) -> Set[int]:
    """The source words that the prefix has not used up; ``end`` only when none is left."""
    if end in prefix:
        return set()
    left = Counter(source) - Counter(prefix)
    return set(left) or {end}


def arc_standard(source: Sequence[int], prefix: Sequence[int], end: int, labels: Set[int]) -> Set[int]:
    """The allowed symbols, by simulating the stack and the buffer."""
    stack, buffer = [], list(source)
    for word in prefix:
        if word == end:
            return set()
        if word in labels:
            stack.pop()  # the allowed symbols do not depend on which of the two stays
        else:
            assert word == buffer[0]
            stack.append(buffer.pop(0))
    allowed = set()
    if buffer:
        allowed.add(buffer[0])
    elif len(stack) <= 1:
        allowed.add(end)
    if len(stack) >= 2:
        allowed |= labels
    return allowed


def outputs(allowed, longest: int, end: int):
    """All complete outputs (tuples, ``end`` included) that the function `allowed` (prefix -> words) admits."""
    found, open_prefixes = [], [()]
    for _ in range(longest):
        longer = []
        for prefix in open_prefixes:
            for word in sorted(allowed(prefix)):
                (found if word == end else longer).append((*prefix, word))
        open_prefixes = longer
    assert not open_prefixes, "an output is longer than its bound"
    return found


def shortlist(source: Sequence[int], likely: Sequence[Sequence[int]], common: Sequence[int], end: int) -> Set[int]:
    """The words of a sentence: of each source word, the common ones and ``end``; none of the symbols below ``end``."""
    words = {end, *common}
    for word in source:
        words |= set(likely[word])
    return {word for word in words if word >= end}
