"""Tracks of a user: one label or number for every word, from a text file beside the sentences.

One line for each sentence, one value for each of its words, separated by spaces; `</s>` has none. A track is of numbers
if all of its values are, else of labels.
"""

import json
import math
import re
from typing import Dict, List, Optional, Sequence

import numpy

from ...errors import BadInput
from ..folder.lstmvis import WordTrack
from .sentences import Sentences

RESERVED = ("loss", "score", "predictions")
LARGEST_LABELS = 64000  # bytes; HDF5 keeps no larger attribute


def read_tracks(options: Sequence[str], option: str, sentences: Sentences, side: str) -> List[WordTrack]:
    """The tracks of one side.

    Args:
        options: each `NAME=FILE`.
        option: `--track` or `--decoder-track`, for messages.
        sentences: what the tracks stand beside.
        side: whose rows they are for.

    Raises:
        BadInput: a name that cannot be one, or is there twice; a file that cannot be read or does not fit the
            sentences.
    """
    if not options:
        return []
    lines, words = sentences.lines(side), sentences.words_of_rows(side)
    tracks: List[WordTrack] = []
    for text in options:
        name, given, path = text.partition("=")
        if not given or not path or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or name in RESERVED:
            raise BadInput(
                f"{option} {text} is not NAME=FILE with a NAME of letters, digits, _, - and . other than "
                f"{', '.join(RESERVED)}"
            )
        if name in [track.name for track in tracks]:
            raise BadInput(f"{option} {text}: there is a track {name} already, give it another name")
        tracks.append(_read_track(name, path, f"{option} {text}", lines, words))
    return tracks


def _read_track(name: str, path: str, option: str, lines: numpy.ndarray, words: numpy.ndarray) -> WordTrack:
    numbers: Dict[str, int] = {}  # by their first appearance
    codes = numpy.full(int(lines.sum()) + 1, -1, dtype=numpy.int32)  # the last is what `words` of -1 finds
    place = count = 0
    try:
        with open(path, encoding="utf-8") as file:
            for count, line in enumerate(file, start=1):
                values = line.split()
                if count <= len(lines) and len(values) != lines[count - 1]:
                    raise BadInput(
                        f"{option}: line {count} has {len(values)} values, but the sentence has {lines[count - 1]} "
                        "words (</s> not counted)"
                    )
                if count <= len(lines):
                    codes[place : place + len(values)] = [numbers.setdefault(value, len(numbers)) for value in values]
                    place += len(values)
    except (OSError, UnicodeDecodeError) as fault:
        raise BadInput(f"{option} cannot be read: {fault}") from None
    if count != len(lines):
        raise BadInput(f"{option} has {count} lines, but there are {len(lines)} sentences")
    table = _as_numbers(list(numbers))
    if table is not None:
        return WordTrack(name, numpy.append(table, numpy.float32(numpy.nan))[codes][words], None)
    labels = sorted(numbers)
    if len(json.dumps(labels)) > LARGEST_LABELS:
        raise BadInput(
            f"{option} has {len(labels)} different labels, which is too many to tell apart: labels are classes of "
            "words, such as part-of-speech tags"
        )
    order = numpy.full(len(labels) + 1, -1, dtype=numpy.int32)
    order[[numbers[label] for label in labels]] = numpy.arange(len(labels), dtype=numpy.int32)
    return WordTrack(name, order[codes][words], labels)


def _as_numbers(values: List[str]) -> Optional[numpy.ndarray]:
    """(values,) float32, or None if one of them is no number."""
    try:
        table = [float(value) for value in values]
    except ValueError:
        return None
    return numpy.array(table, dtype=numpy.float32) if all(map(math.isfinite, table)) else None
