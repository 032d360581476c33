"""The user's tracks: one label or number for every word, from a text file beside the sentences.

The file has one line for each sentence, and one value for each word, separated by spaces; `</s>` has no value. A track
holds numbers if all of its values are numbers. Otherwise it holds labels.
"""

import json
import math
import re
from typing import Dict, List, Optional, Sequence, Tuple

import numpy

from ...errors import UserError, counted
from ..folder.lstmvis import WordTrack
from .sentences import Sentences

RESERVED = ("loss", "score", "predictions")
LARGEST_LABELS = 64000  # bytes; an HDF5 attribute cannot be larger


def read_tracks(options: Sequence[str], option: str, sentences: Sentences, side: str) -> List[WordTrack]:
    """The tracks of one side.

    Args:
        options: `NAME=FILE` of each track.
        option: `--track` or `--decoder-track`, for messages.
        sentences: the sentences of the capture.
        side: the side of the rows.

    Raises:
        UserError: a name is not valid or not unique, or a file cannot be read or does not fit the sentences.
    """
    if not options:
        return []
    lines, words = sentences.lines(side), sentences.words_of_rows(side)
    tracks: List[WordTrack] = []
    for text in options:
        name, separator, path = text.partition("=")
        if not separator or not path or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or name in RESERVED:
            raise UserError(
                f"{option} {text} is not NAME=FILE with a NAME of letters, digits, _, - and . other than "
                f"{', '.join(RESERVED)}"
            )
        if name in [track.name for track in tracks]:
            raise UserError(f"{option} {text}: there is a track {name} already, give it another name")
        tracks.append(_read_track(name, path, f"{option} {text}", lines, words))
    return tracks


def _read_track(name: str, path: str, option: str, lines: numpy.ndarray, words: numpy.ndarray) -> WordTrack:
    """The track of one file.

    Args:
        name: of the track.
        path: of the file.
        option: with its value, for messages.
        lines: (N,) the number of words of each line.
        words: (rows,) the word of each row; -1 for `</s>`.
    """
    codes, values = _read_codes(path, option, lines)
    table = _as_numbers(values)
    if table is not None:
        return WordTrack(name, numpy.append(table, numpy.float32(numpy.nan))[codes][words], None)
    labels = sorted(values)
    if len(json.dumps(labels)) > LARGEST_LABELS:
        raise UserError(
            f"{option} has {len(labels)} different labels, which is too many to tell apart: labels are classes of "
            "words, such as part-of-speech tags"
        )
    numbers = {value: number for number, value in enumerate(values)}
    order = numpy.full(len(labels) + 1, -1, dtype=numpy.int32)
    order[[numbers[label] for label in labels]] = numpy.arange(len(labels), dtype=numpy.int32)
    return WordTrack(name, order[codes][words], labels)


def _read_codes(path: str, option: str, lines: numpy.ndarray) -> Tuple[numpy.ndarray, List[str]]:
    """The code of each word, then one -1: (words + 1,) int32; and the distinct values, which the codes number.

    The -1 is for rows without a word: their index -1 reads the last code.
    """
    numbers: Dict[str, int] = {}  # value -> its code, in order of first appearance
    codes = numpy.full(int(lines.sum()) + 1, -1, dtype=numpy.int32)
    place = count = 0
    try:
        with open(path, encoding="utf-8-sig") as file:
            for count, line in enumerate(file, start=1):
                values = line.split()
                if count <= len(lines) and len(values) != lines[count - 1]:
                    raise UserError(
                        f"{option}: line {count} has {counted(len(values), 'value')}, but the sentence has "
                        f"{counted(int(lines[count - 1]), 'word')} (</s> not counted)"
                    )
                if count <= len(lines):
                    codes[place : place + len(values)] = [numbers.setdefault(value, len(numbers)) for value in values]
                    place += len(values)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option} cannot be read: {error}") from None
    if count != len(lines):
        raise UserError(
            f"{option} has {counted(count, 'line')} for {counted(len(lines), 'sentence')}: give one line for each"
        )
    return codes, list(numbers)


def _as_numbers(values: List[str]) -> Optional[numpy.ndarray]:
    """(values,) float32, or None if a value is not a number. Python alone reads the label 1_2 as 12."""
    if any("_" in value for value in values):
        return None
    try:
        table = [float(value) for value in values]
    except ValueError:
        return None
    return numpy.array(table, dtype=numpy.float32) if all(map(math.isfinite, table)) else None
