"""One beam step: rank, keep, and recover a path.

Ties always go to the earlier candidate, so that a search is a function of its scores alone.
"""

from __future__ import annotations

from typing import Optional, Tuple

import torch
from torch import Tensor

# Columns per block of the two-level search: it ranks V / BLOCK maxima first, then K * BLOCK scores.
BLOCK = 64


def best_of(scores: Tensor, k: int) -> Tuple[Tensor, Tensor]:
    """The ``k`` best of each row, best first; ties go to the smaller index (``torch.topk`` leaves ties open).

    Args:
        scores: (N, C) float; ``-inf`` marks entries that do not exist.
        k: the number of entries; if C < k, the missing places hold ``-inf`` and index 0.

    Returns:
        values (N, k) and indices (N, k).
    """
    columns = scores.size(1)
    if columns < k:
        scores = torch.nn.functional.pad(scores, (0, k - columns), value=-torch.inf)
    values, index = scores.topk(k, dim=1)
    kth = values[:, -1:]  # (N, 1)
    if not _reading_is_free(scores) or _ties_at_the_border(scores, values, kth):
        index = _first_at_the_border(scores, kth, k)
    index = index.sort(dim=1).values
    values, order = scores.gather(1, index).sort(dim=1, descending=True, stable=True)
    index = index.gather(1, order)
    return values, index if columns >= k else index.masked_fill(index >= columns, 0)


def _reading_is_free(scores: Tensor) -> bool:
    """Whether the host can read values without waiting for a device."""
    return scores.device.type == "cpu"


def _ties_at_the_border(scores: Tensor, values: Tensor, kth: Tensor) -> bool:
    """Whether some row has more scores equal to its k-th than places for them; ties of ``-inf`` do not matter."""
    equal, kept = (scores == kth).sum(1), (values == kth).sum(1)  # (N,)
    return bool(((equal > kept) & (kth.squeeze(1) > -torch.inf)).any())


def _first_at_the_border(scores: Tensor, kth: Tensor, k: int) -> Tensor:
    """(N, k) indices of the k best; among scores equal to the k-th, the first ones."""
    above, equal = scores > kth, scores == kth  # (N, C)
    room = k - above.sum(1, keepdim=True)  # (N, 1) the number of equal scores to keep
    kept = above | (equal & (equal.cumsum(1) <= room))
    places = torch.arange(scores.size(1), device=scores.device)
    places = torch.where(kept, places, torch.full_like(places, scores.size(1)))  # (N, C)
    index = places.topk(k, dim=1, largest=False).values
    return index.clamp(max=scores.size(1) - 1)  # a NaN is neither above nor equal to anything


def block_maxima(scores: Tensor) -> Tensor:
    """(R, V') -> (R, V'/BLOCK), the maximum of each block of BLOCK adjacent columns."""
    return scores.view(scores.size(0), -1, BLOCK).amax(-1)


def best_in_blocks(
    scores: Tensor,
    maxima: Tensor,
    k: int,
    row_of_slot: Optional[Tensor] = None,
    added: Optional[Tensor] = None,
) -> Tuple[Tensor, Tensor]:
    """``best_of`` over very wide rows: the ``k`` best values lie in the ``k`` blocks with the highest maxima.

    Args:
        scores: (R, V') scores in whole blocks.
        maxima: (N, W * V'/BLOCK) block maxima of the W hypotheses of each of N sentences; ``-inf`` marks an empty slot.
        k: the number of values.
        row_of_slot: (N * W,) int64 the row of ``scores`` that holds a hypothesis; None if rows are already in order.
        added: (R,) the offset added to each row's scores; ``maxima`` already include it. None adds nothing.

    Returns:
        values (N, k), best first, and (N, k) flat indices ``slot * V' + word``; ties go to the smaller index.
    """
    block_best, blocks = best_of(maxima, min(k, maxima.size(1)))  # (N, n)
    blocks, order = blocks.sort(dim=1)  # ascending, so that the order of ties is the order of flat indices
    values, places = best_of(_inside(scores, block_best.gather(1, order), blocks, maxima, row_of_slot, added), k)
    return values, _flat(blocks, places)


def screen_in_blocks(
    scores: Tensor,
    maxima: Tensor,
    k: int,
    row_of_slot: Optional[Tensor] = None,
    added: Optional[Tensor] = None,
) -> Tuple[Tensor, Tensor]:
    """A faster ``best_in_blocks`` without ranks: the ``k`` best in no order, with ties resolved arbitrarily.

    Returns:
        values (N, c) and flat indices (N, c); c is k, or the number of candidates if there are fewer.
    """
    block_best, blocks = maxima.topk(min(k, maxima.size(1)), dim=1, sorted=False)  # (N, n)
    inside = _inside(scores, block_best, blocks, maxima, row_of_slot, added)
    values, places = inside.topk(min(k, inside.size(1)), dim=1, sorted=False)
    return values, _flat(blocks, places)


def _inside(
    scores: Tensor,
    block_best: Tensor,
    blocks: Tensor,
    maxima: Tensor,
    row_of_slot: Optional[Tensor],
    added: Optional[Tensor],
) -> Tensor:
    """The scores in the given blocks (N, n) of each sentence: (N, n * BLOCK)."""
    sentences, per_row = maxima.size(0), scores.size(1) // BLOCK
    width = maxima.size(1) // per_row
    slots = blocks.div(per_row, rounding_mode="floor")  # (N, n) in [0, W)
    rows = slots + width * torch.arange(sentences, device=scores.device).unsqueeze(1)
    if row_of_slot is not None:
        rows = row_of_slot[rows]
    inside = scores.view(-1, BLOCK)[rows * per_row + blocks.remainder(per_row)]  # (N, n, BLOCK)
    if added is not None:
        inside += added[rows].unsqueeze(2)
    absent = block_best == -torch.inf  # blocks of an empty slot point at some other row
    return inside.masked_fill_(absent.unsqueeze(2), -torch.inf).flatten(1)


def _flat(blocks: Tensor, places: Tensor) -> Tensor:
    """Flat indices of ``places`` (N, k) in the n blocks of each sentence, ``blocks`` (N, n)."""
    block = blocks.gather(1, places.div(BLOCK, rounding_mode="floor"))
    return block * BLOCK + places.remainder(BLOCK)


def recover_paths(
    parents: Tensor, words: Tensor, gold: Tensor, sentences: Tensor, times: Tensor, slots: Tensor
) -> Tuple[Tensor, Tensor]:
    """Follows back-pointers from hypotheses to the gold prefix that they left.

    Args:
        parents: (T, B, K) int64; ``parents[t, b, k]`` is the slot that hypothesis ``k``, kept at step ``t``, extends.
            Slot 0 is the gold prefix.
        words: (T, B, K) int64, the word of that extension.
        gold: (B, T) int64 gold words.
        sentences, times, slots: (M,) int64; a hypothesis is in slot ``slots`` among those kept at step ``times - 1``.

    Returns:
        paths (M, T) and branches (M,). Paths hold the words of each hypothesis before ``times``, and gold words
        elsewhere. Branches hold the first step at which it left gold, or ``times`` if it is the gold prefix itself.
    """
    paths = gold.index_select(0, sentences)  # (M, T)
    branches = times
    for t in range(parents.size(0) - 2, -1, -1):
        inside = (times > t) & (slots > 0)  # (M,)
        word = words[t, sentences, slots]
        paths[:, t] = torch.where(inside, word, paths[:, t])
        branches = torch.where(inside, torch.full_like(branches, t), branches)
        slots = torch.where(inside, parents[t, sentences, slots], slots)
    return paths, branches
