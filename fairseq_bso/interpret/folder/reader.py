"""Reads a capture folder of `fairseq-bso states`: words, windows of states, tracks and attention.

The reader writes nothing, and reads only the requested part of the states. Each side (encoder or decoder) is a project
folder of LSTMVis. A project that another program made for LSTMVis opens as a capture with one side, "states".
"""

import json
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import h5py
import numpy

from ...errors import UserError
from .datasets import REAL, WHOLE, dataset, numbers_for_each, whole
from .output_words import OutputWords
from .project import AGAIN, Project, open_hdf5, word_of
from .states import open_states
from .tracks import Track, read_tracks

__all__ = ["CaptureReader", "Side", "open_capture"]

SIDES = ("encoder", "decoder")


class Side:
    """Encoder or decoder: T steps of words and their states. A position is a row of the corpus, counted from 0.

    Args:
        folder: the project folder of the side.
        name: "encoder", "decoder", or "states" for a project of another program.
    """

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        project = Project(folder)
        sequence = project.part("word_sequence")
        train = project.hdf5(sequence.get("file"))
        self.states = open_states(project, own="sentence_offsets" in train)
        self.steps = int(self.states[0].data.shape[0])
        self.units = sum(states.units for states in self.states)
        self.word_ids = numbers_for_each(train, sequence.get("path"), self.steps, project.remedy)  # (T,)
        self.words = project.words(sequence.get("dict_file"))
        if self.steps and not 0 <= self.word_ids.min() <= self.word_ids.max() < len(self.words):
            raise UserError(f"{folder}: a word's number is not in the dictionary of {len(self.words):,} words")
        self.offsets = self._read_offsets(train, project.remedy)  # (sentences + 1,)
        self.sentences = len(self.offsets) - 1
        self.sentence_ids = (
            numbers_for_each(train, "sentence_ids", self.sentences, project.remedy) if "sentence_ids" in train else None
        )
        self.predictions = _open_predictions(train, self.steps, project.remedy)
        self.output_words = OutputWords(train, self.words)
        self.tracks: Dict[str, Track] = read_tracks(project, train, self.steps)

    def _read_offsets(self, train: "h5py.File", remedy: str) -> numpy.ndarray:
        """(sentences + 1,) int64: the first position of each sentence, then T. One sentence if they are not stored."""
        found = dataset(train, "sentence_offsets")
        if found is None:  # made by another program
            return numpy.array([0, self.steps], dtype=numpy.int64)
        offsets = whole(found, remedy)
        right = offsets.ndim == 1 and len(offsets) >= 2 and offsets[0] == 0 and offsets[-1] == self.steps
        if not right or (numpy.diff(offsets) < 0).any():
            raise UserError(f"{train.filename}: sentence_offsets do not go from 0 to {self.steps}, the number of words")
        return offsets

    @property
    def state_names(self) -> List[str]:
        """The name of each dataset of states, in order."""
        return [states.name for states in self.states]

    def sentence_of(self, position: int) -> int:
        """The number of the sentence at a position."""
        return int(numpy.searchsorted(self.offsets, position, side="right")) - 1

    def text(self, start: int, stop: int) -> List[str]:
        """The words from start to before stop."""
        return [self.words[word] for word in self.word_ids[start:stop]]

    def unit_name(self, unit: int) -> str:
        """The name of a unit by its number, such as "hidden1:17"."""
        states = next(states for states in self.states if states.first <= unit < states.first + states.units)
        return f"{states.name}:{unit - states.first}"

    def predicted(self, start: int, stop: int) -> Optional[List[List[Tuple[str, Optional[float]]]]]:
        """The top-k predictions of the next word at each position, best first, with their scores."""
        if self.predictions is None:
            return None
        ids, scores = (part[start:stop].tolist() for part in self.predictions)  # (n, k) each
        return [
            [
                (word_of(self.words, word), round(score, 4) if math.isfinite(score) else None)
                for word, score in zip(*row)
            ]
            for row in zip(ids, scores)
        ]

    def describe(self) -> Dict[str, Any]:
        """The description for the page."""
        return {
            "name": self.name,
            "steps": self.steps,
            "sentences": self.sentences,
            "states": [states.describe() for states in self.states],
            "tracks": [track.describe() for track in self.tracks.values()],
            "predictions": 0 if self.predictions is None else int(self.predictions[0].shape[1]),
        }


class CaptureReader:
    """A whole folder: its sides by name, and the attention between them if there is one.

    Args:
        folder: the folder.
        summary: the content of capture.json.
        sides: the sides by name.
    """

    def __init__(self, folder: Path, summary: Dict[str, Any], sides: Dict[str, Side]):
        self.folder, self.summary, self.sides = folder, summary, sides
        self.attention = self._open_attention()

    def _open_attention(self) -> Optional[Tuple["h5py.Dataset", numpy.ndarray]]:
        """Weights (total,), and the offset of each sentence in them."""
        path = self.folder / "decoder" / "attention.hdf5"
        if len(self.sides) < 2 or not path.exists():
            return None
        file = open_hdf5(path, AGAIN)
        weights, found = dataset(file, "weights"), dataset(file, "offsets")
        if weights is None or found is None:
            raise UserError(f"{path} lacks weights or offsets: {AGAIN}")
        sources, targets = (numpy.diff(self.sides[name].offsets) for name in SIDES)
        offsets = whole(found, AGAIN)
        fits = len(sources) == len(targets) and numpy.array_equal(
            offsets, numpy.concatenate([[0], numpy.cumsum(sources * targets)])
        )
        if not fits or weights.shape != (offsets[-1],) or weights.dtype.kind not in REAL:
            raise UserError(f"{path} does not fit the sentences of encoder and decoder: {AGAIN}")
        return weights, offsets

    def weights(self, sentence: int) -> numpy.ndarray:
        """The attention weights of one sentence pair, (target words, source words)."""
        if self.attention is None:
            raise ValueError("this capture holds no attention")
        weights, offsets = self.attention
        begin = self.sides["decoder"].offsets
        flat = weights[offsets[sentence] : offsets[sentence + 1]].astype(numpy.float32)
        return flat.reshape(int(begin[sentence + 1] - begin[sentence]), -1)

    def describe(self) -> Dict[str, Any]:
        """The description for the page, with known entries of capture.json only: others may name paths of a machine."""
        known = ("architecture", "checkpoint", "mode", "description")
        known_entries = {name: str(self.summary[name]) for name in known if self.summary.get(name) is not None}
        known_entries["checkpoint"] = Path(known_entries.get("checkpoint", "")).name
        sides = [side.describe() for side in self.sides.values()]
        return {**known_entries, "sides": sides, "attention": self.attention is not None}


def open_capture(folder: Path) -> CaptureReader:
    """Opens and checks a folder. Raises UserError if it is missing, incomplete or damaged."""
    try:
        return _open_capture(folder)
    except Exception as error:  # damage may be anywhere, and h5py, yaml and numpy each raise their own
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise UserError(
            f"{folder} is damaged, or no folder of this form ({reason}): capture the states again"
        ) from None


def _open_capture(folder: Path) -> CaptureReader:
    """``open_capture``; damage may raise any exception."""
    if not folder.is_dir():
        what = f"{folder} is no folder" if folder.exists() else f"the folder {folder} does not exist"
        raise UserError(f"{what}: fairseq-bso states writes one")
    path = folder / "capture.json"
    if not path.is_file():
        if (folder / "lstm.yml").is_file():  # made for LSTMVis by another program, or one side of a capture
            return CaptureReader(folder, {"description": folder.name}, {"states": Side(folder, "states")})
        raise UserError(f"{folder} holds no whole capture (there is no capture.json): run fairseq-bso states again")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        version, names = summary["version"], list(summary["sides"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error!r}") from None
    if version != 1:
        raise UserError(f"{path} is of version {version}, but this program reads version 1")
    if not names or any(name not in SIDES for name in names):
        raise UserError(f"{path} names the sides {names}, but there are only {' and '.join(SIDES)}")
    for name in names:
        if folder.resolve() not in (folder / name).resolve().parents:
            raise UserError(f"{folder / name} is a link out of the folder: copy the side into it")
    return CaptureReader(folder, summary, {name: Side(folder / name, name) for name in SIDES if name in names})


def _open_predictions(file: "h5py.File", steps: int, remedy: str) -> Optional[Tuple[Any, "h5py.Dataset"]]:
    """Words (T, k), all of them in memory if another program wrote them as floats, and scores (T, k)."""
    ids, scores = dataset(file, "predictions"), dataset(file, "prediction_scores")
    if ids is None or scores is None:
        return None
    if ids.ndim != 2 or ids.shape != scores.shape or len(ids) != steps or scores.dtype.kind not in REAL:
        raise UserError(f"{file.filename}: the predictions do not fit the {steps:,} steps: {remedy}")
    return (ids if ids.dtype.kind in WHOLE else whole(ids, remedy)), scores
