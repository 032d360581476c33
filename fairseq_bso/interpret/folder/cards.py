"""The cards of all units of a side, and their file `cards.npz`.

The index and the cards come from one pass over the states. Only the scores of the tracks read the index again, because
their control shifts each track. An array has one row for each unit of the side, in the order of the index.

mean, deviation, low, high       moments and range of the state, after its transform
levels (C, 255)                  steps at each level from -127 to 127 hundredths
above, below (C, 127)            runs at "at least t" and "at most -t", for t = 1 to 127 hundredths
highest, lowest (C, K)           the best peaks; `..._steps` their positions, -1 where there are fewer
partners, correlations (C, M)    the units with the largest absolute correlation
scores_I, values_I (C,)          how well each unit predicts track I; control_I the best of all units for shifted tracks
means_I (C, G)                   the mean of each unit under each label of track I, NaN for a label without steps
description                      JSON: the version, the states that the cards are of, and the tracks
"""

import json
from typing import Any, Dict, List, NamedTuple, Optional

import numpy

from ...files import DAMAGED_NPZ, atomic_write
from ..units.co_activation import CoActivationBuilder, CoActivations
from ..units.level_counts import LevelCounter, LevelCounts
from ..units.peaks import PeakFinder, Peaks
from ..units.ranking import rank_for_track
from ..units.statistics import means_by_label
from .reader import Side
from .tracks import Track

__all__ = ["MOST_LEVELS", "MOST_MEANS", "REPEATS", "CardBuilder", "Cards", "TrackScores", "read_cards", "write_cards"]

VERSION = 1
FILE = "cards.npz"
SPANS = 12  # highest peaks, and lowest ones
APART = 16  # steps between two of them
PARTNERS = 12
ROWS = 2048  # rows that are taken at a time, so that they stay in the processor's cache
# Levels that are counted in one pass for a track. Only the first steps of a larger corpus are counted.
MOST_LEVELS = 200_000_000
REPEATS = 10  # shifts of the control
MOST_TRACKS = 32
MOST_MEANS = 12  # labels whose means are kept


class TrackScores(NamedTuple):
    """How well each unit predicts one track."""

    name: str
    criterion: str
    """"correlation_ratio" for labels, "correlation" for numbers"""
    control: float
    """the best score of all units for shifted tracks"""
    scores: numpy.ndarray
    """(C,) float32 from 0 to 1"""
    values: numpy.ndarray
    """(C,) float32, the criterion itself"""
    means: Optional[numpy.ndarray]
    """(C, G) float32, the mean under each label; None for numbers and for many labels"""


class Cards(NamedTuple):
    """All cards of one side."""

    levels: LevelCounts
    moments: CoActivations
    highest: Peaks
    lowest: Peaks
    tracks: List[TrackScores]


class CardBuilder:
    """Makes the cards block by block.

    Args:
        side: whose states come.
    """

    def __init__(self, side: Side):
        self.side = side
        self.counter = LevelCounter(side.units)
        self.moments = CoActivationBuilder(side.steps, side.units, PARTNERS)
        self.highest, self.lowest = (PeakFinder(side.units, SPANS, APART) for _ in range(2))

    def add(self, values: numpy.ndarray, levels: numpy.ndarray) -> None:
        """Takes the next steps.

        Args:
            values: (n, C) float32, no NaN.
            levels: (C, n) int8, the same as levels.
        """
        self.counter.add(levels)
        for begin in range(0, len(values), ROWS):
            part = numpy.clip(values[begin : begin + ROWS], -1e18, 1e18)  # whose squares are finite
            self.moments.add(part)
            self.highest.add(part)
            self.lowest.add(-part)

    def finish(self, units: numpy.ndarray) -> Cards:
        """The cards, with the scores of the tracks from the index: units (C, T) int8."""
        lowest = self.lowest.finish()
        tracks = [_score(track, units) for track in list(self.side.tracks.values())[:MOST_TRACKS]]
        return Cards(
            self.counter.finish(),
            self.moments.finish(),
            self.highest.finish(),
            Peaks(-lowest.values, lowest.steps),
            [scores for scores in tracks if scores is not None],
        )


def _score(track: Track, units: numpy.ndarray) -> Optional[TrackScores]:
    """The scores of all units for a track. None for a track that cannot be predicted, such as a constant one."""
    steps = min(units.shape[1], max(1, MOST_LEVELS // len(units)))
    levels, values = numpy.asarray(units[:, :steps]), track.values[:steps]
    try:
        found = rank_for_track(levels, values, None, len(units), REPEATS)
    except ValueError:
        return None
    scores, signed = numpy.empty((2, len(units)), dtype=numpy.float32)
    order = found.ranking.units
    scores[order], signed[order] = found.ranking.scores, found.ranking.values
    means = None
    if track.labels is not None and len(track.labels) <= MOST_MEANS:
        means = means_by_label(levels, values, len(track.labels)).astype(numpy.float32)
    return TrackScores(track.name, found.criterion, float(found.control.best.max()), scores, signed, means)


def write_cards(side: Side, cards: Cards, description: Dict[str, Any]) -> None:
    """Writes the file.

    Args:
        side: whose folder gets it.
        cards: the cards.
        description: of the states, see `read_cards`.

    Raises:
        OSError: it cannot be written.
    """
    levels, moments = cards.levels, cards.moments
    arrays = {"levels": levels.steps, "above": levels.above, "below": levels.below, **moments._asdict()}
    for name in ("highest", "lowest"):
        peaks: Peaks = getattr(cards, name)
        arrays[name], arrays[f"{name}_steps"] = peaks.values, peaks.steps
    for place, track in enumerate(cards.tracks):
        arrays[f"scores_{place}"], arrays[f"values_{place}"] = track.scores, track.values
        arrays[f"control_{place}"] = numpy.array(track.control)
        if track.means is not None:
            arrays[f"means_{place}"] = track.means
    tracks = [{"name": track.name, "criterion": track.criterion} for track in cards.tracks]
    content = {"version": VERSION, "states": description, "tracks": tracks}
    arrays["description"] = numpy.frombuffer(json.dumps(content).encode(), dtype=numpy.uint8)
    with atomic_write(side.folder / FILE) as file:
        numpy.savez(file, **arrays)


def read_cards(side: Side, description: Dict[str, Any]) -> Optional[Cards]:
    """Reads the file.

    Args:
        side: whose folder has it.
        description: of the states as they are now.

    Returns:
        The cards. None if the file is missing, is damaged, or is of other states.
    """
    try:
        with numpy.load(side.folder / FILE, allow_pickle=False) as file:
            content = json.loads(file["description"].tobytes().decode())
            if content["version"] != VERSION or content["states"] != description:
                return None
            arrays = {name: file[name] for name in file.files}
        cards = _from_arrays(arrays, content["tracks"])
    except (*DAMAGED_NPZ, TypeError):
        return None
    rows = [*cards.levels, *cards.moments, *cards.highest, *cards.lowest]
    rows += [part for track in cards.tracks for part in track[3:] if part is not None]
    return cards if all(len(array) == side.units for array in rows) else None


def _from_arrays(arrays: Dict[str, numpy.ndarray], tracks: List[Dict[str, str]]) -> Cards:
    """The cards of the arrays of a file. Raises KeyError where one is missing."""
    return Cards(
        LevelCounts(arrays["levels"], arrays["above"], arrays["below"]),
        CoActivations(*(arrays[name] for name in CoActivations._fields)),
        Peaks(arrays["highest"], arrays["highest_steps"]),
        Peaks(arrays["lowest"], arrays["lowest_steps"]),
        [
            TrackScores(
                track["name"],
                track["criterion"],
                float(arrays[f"control_{place}"]),
                arrays[f"scores_{place}"],
                arrays[f"values_{place}"],
                arrays.get(f"means_{place}"),
            )
            for place, track in enumerate(tracks)
        ],
    )
