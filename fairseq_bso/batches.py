"""Sentences in batches of similar lengths: pure Python."""

from typing import List, Sequence

Batch = List[int]
"""indices of sentences"""


def length_batches(sizes: Sequence[int], sentences: Sequence[int], max_tokens: int) -> List[Batch]:
    """Groups sentences of similar lengths, the longest first, so that a batch that needs too much memory fails early.

    Args:
        sizes: the length of every sentence.
        sentences: the indices of those to group.
        max_tokens: tokens in a batch, padding included; a sentence that is longer makes a batch of its own.
    """
    batches: List[Batch] = []
    limit = 0
    for sentence in sorted(sentences, key=lambda sentence: (-sizes[sentence], sentence)):
        if not batches or len(batches[-1]) >= limit:
            batches.append([])
            limit = max(1, max_tokens // max(1, int(sizes[sentence])))
        batches[-1].append(sentence)
    return batches
