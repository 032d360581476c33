"""Writes the files that make a side of a capture a project of LSTMVis (Strobelt et al. 2016, arXiv 1606.07461).

LSTMVis reads lstm.yml, which names HDF5 datasets and dictionaries. A dictionary has one "word id" on each line. LSTMVis
applies tanh to every state unless lstm.yml says otherwise. Only the unbounded cell states are left to this default.
"""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy
import yaml

UNSIGNED = ("input", "forget", "output")
NO_LABEL = -1


class WordTrack(NamedTuple):
    """One value for each row of a side."""

    name: str
    values: numpy.ndarray
    """(rows,) int32 codes, -1 at `</s>`; or float32 numbers, NaN at `</s>`"""
    labels: Optional[List[str]]
    """the names of the codes; None for numbers"""


def kind_and_layer(name: str) -> Tuple[str, int]:
    """hidden2 -> ("hidden", 2); a state of no layer has layer 0."""
    kind = name.rstrip("0123456789")
    return kind, int(name[len(kind) :] or 0)


def one_word(symbol: str) -> str:
    """A symbol with `_` for white space: LSTMVis skips lines of a dictionary that have more than two words."""
    return "".join("_" if letter.isspace() else letter for letter in symbol)


def write_dictionary(path: Path, symbols: List[str]) -> None:
    """Writes the words of a fairseq dictionary with their ids."""
    path.write_text("".join(f"{one_word(word)} {index}\n" for index, word in enumerate(symbols)), encoding="utf-8")


def write_labels(path: Path, labels: List[str]) -> None:
    """Writes the labels of a track with their codes. `</s>`, which has no label, gets a name that no label has."""
    none = "</s>"
    while none in labels:
        none += "_"
    lines = [f"{none} {NO_LABEL}\n", *(f"{one_word(label)} {code}\n" for code, label in enumerate(labels))]
    path.write_text("".join(lines), encoding="utf-8")


def filled(track: WordTrack) -> numpy.ndarray:
    """(rows,) float32: the numbers of a track, with the smallest at `</s>`. The page of LSTMVis cannot read NaN."""
    known = track.values[numpy.isfinite(track.values)]
    return numpy.where(numpy.isfinite(track.values), track.values, known.min() if len(known) else 0).astype("float32")


def project_description(
    name: str,
    description: str,
    states: List[str],
    tracks: List[WordTrack],
    measures: Dict[str, numpy.ndarray],
    predictions: bool,
) -> Dict[str, Any]:
    """The content of lstm.yml.

    Args:
        name: of the project.
        description: of the project.
        states: the datasets in states.hdf5.
        tracks: the user's tracks.
        measures: `loss` or `score` of a decoder, (rows,).
        predictions: whether the project has predictions.
    """
    types = []
    for state in states:
        kind, layer = kind_and_layer(state)
        entry: Dict[str, Any] = {"type": kind, "layer": layer, "path": state}
        entry.update({} if kind == "cell" else {"transform": "none"})
        types.append({**entry, "unsigned": True} if kind in UNSIGNED else entry)
    meta = {track.name: _track(track) for track in tracks}
    for measure, values in measures.items():
        meta[measure] = _scale("train", measure, values)
    if predictions:
        meta["predictions"] = {
            **{"file": "train", "path": "predictions", "dict": "words", "type": "wordvec"},
            **{"weights_path": "prediction_scores", "vis": {"type": "discrete", "range": "dict"}},
        }
    files = {"states": "states.hdf5", "train": "train.hdf5", "words": "words.dict"}
    files.update({f"labels_{track.name}": labels_file(track) for track in tracks if track.labels is not None})
    content = {
        "name": name,
        "description": description,
        "files": files,
        "word_sequence": {"file": "train", "path": "word_ids", "dict_file": "words"},
        "states": {"file": "states", "types": types},
    }
    return {**content, "meta": meta} if meta else content


def labels_file(track: WordTrack) -> str:
    """The file of a track's labels."""
    return f"labels_{track.name}.dict"


def _track(track: WordTrack) -> Dict[str, Any]:
    if track.labels is None:
        return _scale("train", f"filled/{track.name}", track.values)
    vis = {"type": "discrete", "range": "dict"}
    return {"file": "train", "path": f"meta/{track.name}", "dict": f"labels_{track.name}", "vis": vis}


def _scale(file: str, path: str, values: numpy.ndarray) -> Dict[str, Any]:
    known = values[numpy.isfinite(values)]
    ends = [round(float(known.min()), 4), round(float(known.max()), 4)] if len(known) else [0.0, 1.0]
    return {"file": file, "path": path, "vis": {"type": "scalar", "range": ends}}


def write_project(path: Path, content: Dict[str, Any]) -> None:
    """Writes lstm.yml."""
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
