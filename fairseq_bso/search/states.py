"""States of hypotheses: a tuple of tensors with the hypothesis on the first axis.

A model and a constraint have states of this form. One index therefore selects, reorders and resets all of them.
"""

from __future__ import annotations

from typing import Tuple

import torch
from torch import Tensor

State = Tuple[Tensor, ...]


def select(gold: State, others: State, source: Tensor) -> State:
    """The states of some hypotheses, each among the B gold prefixes and the R' others.

    Args:
        gold: each (B, ...), after the gold prefixes.
        others: each (R', ...), of the other hypotheses; ``()`` for none.
        source: (R,) int64, below B for a gold prefix, then the others.

    Returns:
        each (R, ...).
    """
    together = [torch.cat(pair) for pair in zip(gold, others)] if others else gold
    return tuple(part.index_select(0, source) for part in together)
