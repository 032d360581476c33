"""Writes the sides of a capture: reads the model in windows of sentences that follow each other.

A window is read in batches of like lengths and written at once, so that no more than a window is ever held, and what
stands together in a file is written together.
"""

import json
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy
import torch
from tqdm import tqdm

from ..folder import lstmvis
from ..folder.lstmvis import WordTrack
from .hdf5_files import CaptureFiles, bytes_needed, check_room
from .loading import Loaded
from .records import Key, Record, Wanted, read_batch
from .sentences import Sentences, batches, offsets

WINDOW_BYTES = 1 << 26
ATTENTION: Key = ("decoder/attention.hdf5", "weights")


class Corpus(NamedTuple):
    """All that is to be captured."""

    loaded: Loaded
    sentences: Sentences
    sides: Tuple[str, ...]
    """those that are captured, encoder first"""
    tracks: Dict[str, List[WordTrack]]
    """of each side"""


class Way(NamedTuple):
    """How it is captured."""

    top_k: int
    float16: bool
    max_tokens: int
    """words in a batch, padding included"""
    batch_size: Optional[int]
    """sentences in a batch at most"""
    with_index: bool
    """whether an index will be written too, which takes room"""


def write_sides(part: Path, corpus: Corpus, way: Way, name: str, description: str) -> None:
    """All files of all sides but the index.

    Args:
        part: the folder.
        corpus: what is captured.
        way: how.
        name: of the capture.
        description: of the capture.

    Raises:
        BadInput: the disk has no room.
    """
    lengths = _lengths(corpus)
    sizes = {side: int(rows.sum()) for side, rows in lengths.items()}
    smallest = int(numpy.argmin(sum(lengths.values())))
    (sample,) = _read(corpus, [smallest], way)
    rows = {key: _rows(key, corpus, sizes) for key in sample}
    check_room(part, bytes_needed(sample, rows) + (_index_bytes(sample, sizes) if way.with_index else 0))
    files = CaptureFiles(part)
    with files.writing():
        files.create(sample, rows)
        with tqdm(total=sum(sizes.values()), unit=" words", desc="capturing", disable=None) as progress:
            for window in _windows(corpus, sample, lengths):
                records = _read_window(corpus, window, lengths, way, progress)
                files.append(records)
        for side in corpus.sides:
            _finish_side(files, side, corpus, lengths[side])
            _write_project(files, side, corpus, name, description)


def _lengths(corpus: Corpus) -> Dict[str, numpy.ndarray]:
    """(N,) rows of each sentence, by side."""
    sentences = corpus.sentences
    both = {"encoder": sentences.source_lengths, "decoder": sentences.target_lengths}
    return {side: both[side] for side in corpus.sides}


def _rows(key: Key, corpus: Corpus, sizes: Dict[str, int]) -> int:
    """How many rows a dataset will have."""
    if key == ATTENTION:
        return int((corpus.sentences.source_lengths * corpus.sentences.target_lengths).sum())
    return sizes[key[0].split("/")[0]]


def _index_bytes(sample: Record, sizes: Dict[str, int]) -> int:
    """Of the index: every state twice, in one byte."""
    units = {key: values.shape[1] for key, values in sample.items() if key[0].endswith("states.hdf5")}
    return sum(2 * count * sizes[key[0].split("/")[0]] for key, count in units.items())


def _windows(corpus: Corpus, sample: Record, lengths: Dict[str, numpy.ndarray]) -> List[range]:
    """Sentences that follow each other, as many as are held at a time."""
    of_row = dict.fromkeys(lengths, 0)
    for (file, path), values in sample.items():
        if path != "weights":
            of_row[file.split("/")[0]] += int(numpy.prod(values.shape[1:])) * values.dtype.itemsize
    size = sum(rows * of_row[side] for side, rows in lengths.items())  # (N,)
    if ATTENTION in sample:
        size = size + corpus.sentences.source_lengths * corpus.sentences.target_lengths * 4
    windows, start, held = [], 0, 0
    for place, bytes_here in enumerate(size.tolist()):
        if held and held + bytes_here > WINDOW_BYTES:
            windows.append(range(start, place))
            start, held = place, 0
        held += bytes_here
    return [*windows, range(start, len(size))]


def _read_window(corpus: Corpus, window: range, lengths: Dict[str, numpy.ndarray], way: Way, progress) -> List[Record]:
    """The records of a window in its order, read in batches of like lengths."""
    longest = numpy.maximum.reduce(list(lengths.values()))
    if corpus.sentences.source_lengths is not None:
        longest = numpy.maximum(longest, corpus.sentences.source_lengths)
    found: Dict[int, Record] = {}
    for places in batches(longest, window, way.max_tokens, way.batch_size):
        found.update(zip(places, _read(corpus, places, way)))
        progress.update(sum(int(rows[places].sum()) for rows in lengths.values()))
    return [found[place] for place in window]


def _read(corpus: Corpus, places: List[int], way: Way) -> List[Record]:
    loaded = corpus.loaded
    wanted = Wanted(corpus.sides, way.top_k, torch.float16 if way.float16 else torch.float32)
    padding = loaded.task.source_dictionary.pad()
    return read_batch(loaded.reader, corpus.sentences, places, wanted, loaded.device, padding)


def _finish_side(files: CaptureFiles, side: str, corpus: Corpus, lengths: numpy.ndarray) -> None:
    """What train.hdf5 and the others say of a side as a whole: offsets, tracks, what each dataset is."""
    train = f"{side}/train.hdf5"
    files.write(train, "sentence_offsets", offsets(lengths))
    files.write(train, "sentence_ids", numpy.arange(len(lengths), dtype=numpy.int64))
    for track in corpus.tracks[side]:
        labels = {} if track.labels is None else {"labels": json.dumps(track.labels)}
        files.write(train, f"meta/{track.name}", track.values, labels)
        if track.labels is None:
            files.write(train, f"filled/{track.name}", lstmvis.filled(track))
    for path, dataset in files.file(f"{side}/states.hdf5").items():
        kind, layer = lstmvis.kind_and_layer(path)
        dataset.attrs.update({"kind": kind, "layer": layer, "directions": corpus.loaded.reader.directions(side)})
    if side == "decoder" and ATTENTION in files.written:
        areas = corpus.sentences.source_lengths * corpus.sentences.target_lengths
        files.write(ATTENTION[0], "offsets", offsets(areas))


def _write_project(files: CaptureFiles, side: str, corpus: Corpus, name: str, description: str) -> None:
    """lstm.yml and the dictionaries it names."""
    folder, task, tracks = files.folder / side, corpus.loaded.task, corpus.tracks[side]
    # What a language model reads has its source dictionary; what it predicts may be limited to a part of it.
    of_source = side == "encoder" or corpus.sentences.mode == "language_model"
    dictionary = task.source_dictionary if of_source else task.target_dictionary
    lstmvis.write_dictionary(folder / "words.dict", dictionary.symbols)
    for track in tracks:
        if track.labels is not None:
            lstmvis.write_labels(folder / lstmvis.labels_file(track), track.labels)
    train = files.file(f"{side}/train.hdf5")
    measures = {measure: train[measure][:] for measure in ("loss", "score") if measure in train}
    states = [path for file, path in files.written if file == f"{side}/states.hdf5"]
    content = lstmvis.project(
        f"{name} {side}", f"{description} ({side})", states, tracks, measures, "predictions" in train
    )
    lstmvis.write_project(folder / "lstm.yml", content)
