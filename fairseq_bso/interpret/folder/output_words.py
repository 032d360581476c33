"""The output words whose scores each unit raises and lowers most, as `fairseq-bso states` stores them.

The file of the words (train.hdf5) has a group `output_words`. For a state it holds `STATE/words` and `STATE/weights`,
(units, 2 k) each: the k words that a unit raises most, the most first, then the k that it lowers most.
"""

import shutil
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import h5py
import numpy

from ...errors import UserError
from ...files import atomic_path
from .datasets import dataset
from .project import word_of

__all__ = ["GROUP", "NAMES", "OutputWords", "add_output_words"]

GROUP, NAMES = "output_words", ("words", "weights")

Weighted = List[Tuple[str, float]]
"""words with the weight of the unit in their scores, the largest absolute weight first"""


class OutputWords:
    """Reads the words of single units.

    Args:
        train: the file of the words.
        words: the dictionary.
    """

    def __init__(self, train: "h5py.File", words: List[str]):
        self.words = words
        self.datasets: Dict[str, Tuple[numpy.ndarray, numpy.ndarray]] = {}
        group = train.get(GROUP)
        for state in group if isinstance(group, h5py.Group) else ():
            ids, weights = (dataset(train, f"{GROUP}/{state}/{name}") for name in NAMES)
            if ids is None or weights is None or ids.ndim != 2 or ids.shape != weights.shape:
                continue
            if ids.dtype.kind in "iu" and weights.dtype.kind == "f":
                self.datasets[state] = ids[:], numpy.nan_to_num(weights[:])

    def of(self, state: str, unit: int) -> Optional[Tuple[Weighted, Weighted]]:
        """The words that a unit raises, and those that it lowers. None for a state of which nothing is stored."""
        if state not in self.datasets or unit >= len(self.datasets[state][0]):
            return None
        ids, weights = (part[unit].tolist() for part in self.datasets[state])
        both = [(word_of(self.words, word), weight) for word, weight in zip(ids, weights)]
        return both[: len(both) // 2], both[len(both) // 2 :]


def add_output_words(train: Path, words: Dict[str, Tuple[numpy.ndarray, numpy.ndarray]]) -> None:
    """Writes the file of the words again, with the output words of a model.

    Args:
        train: the file.
        words: ids and weights for each state, (units, 2 k) each.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        with atomic_path(train) as partial:
            shutil.copyfile(train, partial)
            with h5py.File(partial, "r+", locking=False) as file:  # `atomic_path` has locked it
                if GROUP in file:
                    del file[GROUP]
                for state, both in words.items():
                    for name, values in zip(NAMES, both):
                        file.create_dataset(f"{GROUP}/{state}/{name}", data=values)
    except (OSError, RuntimeError) as error:  # h5py raises both
        raise UserError(f"the output words cannot be written to {train}: {error}") from None
