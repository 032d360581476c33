"""Sentences in batches of similar lengths: pure Python."""

from typing import List, Sequence

Batch = List[int]
"""places of sentences"""


def length_batches(sizes: Sequence[int], places: Sequence[int], max_tokens: int) -> List[Batch]:
    """Sentences of like lengths together, the longest first: what does not fit into memory shows at once.

    Args:
        sizes: the length of every sentence.
        places: the sentences to decode.
        max_tokens: tokens in a batch, padding included; a sentence that is longer makes a batch of its own.
    """
    batches: List[Batch] = []
    limit = 0
    for place in sorted(places, key=lambda place: (-sizes[place], place)):
        if not batches or len(batches[-1]) >= limit:
            batches.append([])
            limit = max(1, max_tokens // max(1, int(sizes[place])))
        batches[-1].append(place)
    return batches
