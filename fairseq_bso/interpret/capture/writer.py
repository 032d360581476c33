"""Writes the sides of a capture: runs the model on windows of consecutive sentences.

A window is read in batches of similar lengths and written at once. Memory holds at most one window, and the rows of
adjacent sentences are written together.
"""

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy
from tqdm import tqdm

from ..folder import lstmvis
from ..folder.output_words import GROUP, NAMES
from .hdf5_files import CaptureFiles, bytes_needed, check_room
from .options import CaptureOptions
from .output_words import output_words
from .records import CaptureInput, DatasetKey, Record, read_batch
from .sentences import batches, offsets, required

WINDOW_BYTES = 1 << 26
CARD_BYTES = 6000  # of one unit
ATTENTION: DatasetKey = ("decoder/attention.hdf5", "weights")


def write_sides(part: Path, source: CaptureInput, options: CaptureOptions, name: str, description: str) -> None:
    """Writes all files of all sides except the index.

    Args:
        part: the folder.
        source: the model and the sentences.
        options: what is captured, and how.
        name: of the capture.
        description: of the capture.

    Raises:
        UserError: the disk has no room.
    """
    lengths = _lengths(source)
    sizes = {side: int(rows.sum()) for side, rows in lengths.items()}
    smallest = int(numpy.argmin(numpy.sum(list(lengths.values()), axis=0)))
    (sample,) = read_batch(source, [smallest], options)
    rows = {key: _rows(key, source, sizes) for key in sample}
    check_room(part, bytes_needed(sample, rows) + (_index_bytes(sample, sizes) if options.index else 0))
    files = CaptureFiles(part)
    with files.writing():
        files.create(sample, rows)
        with tqdm(total=sum(sizes.values()), unit=" words", desc="capturing", disable=None) as progress:
            for window in _windows(source, sample, lengths):
                files.append(_read_window(source, window, lengths, options, progress))
        for side in source.sides:
            _finish_side(files, side, source, lengths[side])
            _write_project(files, side, source, name, description)


def _lengths(source: CaptureInput) -> Dict[str, numpy.ndarray]:
    """(N,) rows of each sentence, by side."""
    sentences = source.sentences
    both = {"encoder": sentences.source_lengths, "decoder": sentences.target_lengths}
    return {side: required(both[side]) for side in source.sides}


def _areas(source: CaptureInput) -> numpy.ndarray:
    """(N,) attention weights of each sentence pair."""
    return required(source.sentences.source_lengths) * required(source.sentences.target_lengths)


def _rows(key: DatasetKey, source: CaptureInput, sizes: Dict[str, int]) -> int:
    """The final number of rows of a dataset."""
    return int(_areas(source).sum()) if key == ATTENTION else sizes[key[0].split("/")[0]]


def _index_bytes(sample: Record, sizes: Dict[str, int]) -> int:
    """The size of the index and the cards: two bytes for each state, and some for each unit."""
    units = {key: values.shape[1] for key, values in sample.items() if key[0].endswith("states.hdf5")}
    return sum(count * (2 * sizes[key[0].split("/")[0]] + CARD_BYTES) for key, count in units.items())


def _windows(source: CaptureInput, sample: Record, lengths: Dict[str, numpy.ndarray]) -> List[range]:
    """Windows of consecutive sentences, each of at most WINDOW_BYTES or one sentence."""
    of_row = dict.fromkeys(lengths, 0)
    for (file, path), values in sample.items():
        if path != "weights":
            of_row[file.split("/")[0]] += int(numpy.prod(values.shape[1:])) * values.dtype.itemsize
    size = numpy.sum([rows * of_row[side] for side, rows in lengths.items()], axis=0)  # (N,)
    if ATTENTION in sample:
        size = size + _areas(source) * 4
    windows, start, held = [], 0, 0
    for place, bytes_here in enumerate(size.tolist()):
        if held and held + bytes_here > WINDOW_BYTES:
            windows.append(range(start, place))
            start, held = place, 0
        held += bytes_here
    return [*windows, range(start, len(size))]


def _read_window(
    source: CaptureInput, window: range, lengths: Dict[str, numpy.ndarray], options: CaptureOptions, progress: Any
) -> List[Record]:
    """The records of a window in order, read in batches of similar lengths."""
    longest = numpy.maximum.reduce(list(lengths.values()))
    if source.sentences.source_lengths is not None:
        longest = numpy.maximum(longest, source.sentences.source_lengths)
    records: Dict[int, Record] = {}
    for places in batches(longest, window, options.max_tokens, options.batch_size):
        records.update(zip(places, read_batch(source, places, options)))
        progress.update(sum(int(rows[places].sum()) for rows in lengths.values()))
    return [records[place] for place in window]


def _finish_side(files: CaptureFiles, side: str, source: CaptureInput, lengths: numpy.ndarray) -> None:
    """Writes the datasets of a whole side: offsets, tracks, and the attributes of the states."""
    train = f"{side}/train.hdf5"
    files.write(train, "sentence_offsets", offsets(lengths))
    files.write(train, "sentence_ids", numpy.arange(len(lengths), dtype=numpy.int64))
    for track in source.tracks[side]:
        labels = {} if track.labels is None else {"labels": json.dumps(track.labels)}
        files.write(train, f"meta/{track.name}", track.values, labels)
        if track.labels is None:
            files.write(train, f"filled/{track.name}", lstmvis.filled(track))
    for path, dataset in files.file(f"{side}/states.hdf5").items():
        kind, layer = lstmvis.kind_and_layer(path)
        dataset.attrs.update({"kind": kind, "layer": layer, "directions": source.model.reader.directions(side)})
    if side == "decoder":
        for state, both in output_words(source.model).items():
            for name, values in zip(NAMES, both):
                files.write(train, f"{GROUP}/{state}/{name}", values)
    if side == "decoder" and ATTENTION in files.written:
        files.write(ATTENTION[0], "offsets", offsets(_areas(source)))


def _write_project(files: CaptureFiles, side: str, source: CaptureInput, name: str, description: str) -> None:
    """Writes lstm.yml and the dictionaries that it names."""
    folder, task, tracks = files.folder / side, source.model.task, source.tracks[side]
    # The input of a language model has the source dictionary. Its output dictionary may be a part of that.
    of_source = side == "encoder" or source.sentences.mode == "language_model"
    dictionary = task.source_dictionary if of_source else task.target_dictionary
    lstmvis.write_dictionary(folder / "words.dict", dictionary.symbols)
    for track in tracks:
        if track.labels is not None:
            lstmvis.write_labels(folder / lstmvis.labels_file(track), track.labels)
    train = files.file(f"{side}/train.hdf5")
    measures = {measure: train[measure][:] for measure in ("loss", "score") if measure in train}
    states = [path for file, path in files.written if file == f"{side}/states.hdf5"]
    content = lstmvis.project_description(
        f"{name} {side}", f"{description} ({side})", states, tracks, measures, "predictions" in train
    )
    lstmvis.write_project(folder / "lstm.yml", content)
