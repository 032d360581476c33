"""The output words whose scores each unit raises and lowers most: a column of the output layer."""

from typing import Dict, Tuple

import numpy
from torch import Tensor

from ..models.state_reader import LoadedModel

__all__ = ["output_words", "top_words"]

COUNT = 10  # words that a unit raises, and that it lowers


def output_words(model: LoadedModel) -> Dict[str, Tuple[numpy.ndarray, numpy.ndarray]]:
    """Word ids and weights, as for `top_words`, for each state of the last decoder layer."""
    padding = model.task.target_dictionary.pad()
    return {state: top_words(columns, COUNT, padding) for state, columns in model.reader.output_columns().items()}


def top_words(columns: Tensor, count: int, padding: int) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """The words of each unit, for `OutputWords` of the folder.

    Args:
        columns: (V, units), what each unit adds to the score of every word.
        count: k, of each kind.
        padding: the id that is never predicted.

    Returns:
        Word ids (units, 2 k) int32 and weights (units, 2 k) float32: the k words that are raised most, then the k that
        are lowered most. A weight is relative to the mean of all words, because a softmax ignores what is added to all.
    """
    weights = (columns - columns.mean(0)).float().t().cpu()  # (units, V)
    kept = [word for word in range(weights.size(1)) if word != padding]
    weights = weights[:, kept]
    count = min(count, len(kept) // 2)
    raised, lowered = weights.topk(count, 1), weights.topk(count, 1, largest=False)
    places = numpy.concatenate([raised.indices.numpy(), lowered.indices.numpy()], axis=1)
    return numpy.array(kept, dtype=numpy.int32)[places], numpy.concatenate([raised.values, lowered.values], axis=1)
