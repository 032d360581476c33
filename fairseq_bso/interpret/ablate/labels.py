"""The tracks by which losses are added up. The loss of a word counts under the label of that predicted word."""

from typing import Dict, List, NamedTuple

import numpy

from ..folder.reader import Side
from ..folder.tracks import Track

__all__ = ["Labels", "labels_of"]

MOST_WORDS = 50  # of the track `word`
MOST_NUMBERS = 20  # different numbers that are labels of their own
PARTS = 4  # of the corpus, for more numbers


class Labels(NamedTuple):
    """A label for each of R decoder rows."""

    names: List[str]
    """L"""
    codes: numpy.ndarray
    """(R,) int64, -1 for a row without a label"""

    @property
    def counts(self) -> numpy.ndarray:
        """(L,) rows of each label."""
        return self.sums(numpy.ones(len(self.codes)))

    def sums(self, values: numpy.ndarray) -> numpy.ndarray:
        """(R,) -> (L,) the sum under each label."""
        kept = self.codes >= 0
        return numpy.bincount(self.codes[kept], values[kept], minlength=len(self.names))


def labels_of(decoder: Side, following: numpy.ndarray, words: List[str]) -> Dict[str, Labels]:
    """All tracks of the decoder, and the track `word`: the most frequent of the predicted words.

    Args:
        decoder: the side.
        following: (R,) int64 the predicted words.
        words: the dictionary of the predicted words.
    """
    found = {"word": _words(following, words)}
    for name, track in decoder.tracks.items():
        if name not in ("loss", "score", "predictions"):
            found["word (track)" if name == "word" else name] = _of_predicted(_labels(track), decoder.offsets)
    return {name: labels for name, labels in found.items() if labels.names}


def _words(following: numpy.ndarray, words: List[str]) -> Labels:
    counts = numpy.bincount(following, minlength=len(words))
    chosen = numpy.argsort(-counts, kind="stable")[:MOST_WORDS]
    chosen = chosen[counts[chosen] > 0]
    codes = numpy.full(len(words), -1, dtype=numpy.int64)
    codes[chosen] = numpy.arange(len(chosen))
    return Labels([words[code] for code in chosen], codes[following])


def _labels(track: Track) -> Labels:
    """The labels of the words that are read. Numbers are labels if they are few, else quarters of the corpus."""
    if track.labels is not None:
        return Labels(list(track.labels), track.values.astype(numpy.int64))
    finite = numpy.isfinite(track.values)
    different = numpy.unique(track.values[finite])
    codes = numpy.full(len(track.values), -1, dtype=numpy.int64)
    if len(different) <= MOST_NUMBERS:
        codes[finite] = numpy.searchsorted(different, track.values[finite])
        return Labels(_written(different), codes)
    bounds = numpy.unique(numpy.quantile(track.values[finite], numpy.arange(1, PARTS) / PARTS))
    codes[finite] = numpy.searchsorted(bounds, track.values[finite])
    texts = _written(bounds)
    return Labels([*(f"to {text}" for text in texts), f"above {texts[-1]}"], codes)


def _written(numbers: numpy.ndarray) -> List[str]:
    """Different numbers as different texts, with as few digits as that takes, but at least 6."""
    for digits in range(6, 17):
        texts = [f"{number:.{digits}g}" for number in numbers]
        if len(set(texts)) == len(texts):
            break
    return texts


def _of_predicted(labels: Labels, offsets: numpy.ndarray) -> Labels:
    """The labels of the read words -> the labels of the predicted words. The last row of a sentence has none."""
    codes = numpy.append(labels.codes[1:], -1)
    codes[offsets[1:] - 1] = -1
    return Labels(labels.names, codes)
