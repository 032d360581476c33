"""A model that stays loaded and is asked about one text after the other."""

import threading
from collections import OrderedDict
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy
import torch

from ..attribution.gradients import Attribution, attribute
from ..capture.options import CaptureOptions
from ..capture.output_words import output_words
from ..capture.records import CaptureInput, Record, prediction_measures, read_batch
from ..folder.fitting import check_dictionaries, check_summary, check_units
from ..folder.reader import CaptureReader
from ..models.changes import UNCHANGED, Change, UnitEdit
from ..models.loading import load
from ..models.lstm_steps import GATES
from ..models.state_reader import LoadedModel
from .reading import OwnText, read_text

__all__ = ["OwnRun", "Session", "open_session"]

KEPT = 16  # texts whose runs are kept
TOP = 5  # predictions of a row
STEPS = 16  # nodes of integrated gradients


class OwnRun(NamedTuple):
    """A text with all that a capture holds of a sentence."""

    text: OwnText
    record: Record
    """the datasets of a capture, such as ("decoder/states.hdf5", "hidden1")"""

    def words(self, side: str) -> numpy.ndarray:
        """(n,) int32, the word of each row."""
        return self.record[f"{side}/train.hdf5", "word_ids"]

    def states(self, side: str, name: str) -> numpy.ndarray:
        """(n, units) float32."""
        return self.record[f"{side}/states.hdf5", name]


class Predictions(NamedTuple):
    """The predictions of a run at each of T rows."""

    measure: numpy.ndarray
    """(T,) the loss or score of the next word"""
    ids: numpy.ndarray
    """(T, k) the best words, best first"""
    scores: numpy.ndarray
    """(T, k)"""


class Session:
    """Runs a model on single texts, one at a time: readers put hooks into the model.

    Args:
        model: the model.
    """

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.lock = threading.Lock()
        self.runs: "OrderedDict[Tuple[str, Optional[str]], OwnRun]" = OrderedDict()
        self.sides = tuple(model.reader.sides)
        self.measure = "score" if model.reader.unnormalized else "loss"
        self.top = min(TOP, len(model.task.target_dictionary) - 1)

    def run(self, text: str, target: Optional[str]) -> OwnRun:
        """The states, attention, predictions and losses of a text."""
        with self.lock:
            found = self.runs.pop((text, target), None)
            if found is None:
                own = read_text(self.model, text, target)
                source = CaptureInput(self.model, own.sentences, self.sides, {side: [] for side in self.sides})
                (record,) = read_batch(source, [0], CaptureOptions(top_k=self.top))
                found = OwnRun(own, record)
            self.runs[text, target] = found
            while len(self.runs) > KEPT:
                self.runs.popitem(last=False)
            return found

    def output_words(self) -> Dict[str, Tuple[numpy.ndarray, numpy.ndarray]]:
        """The output words of each state of the last decoder layer, as `fairseq-bso states` stores them."""
        return output_words(self.model)

    def changed(self, run: OwnRun, side: str, edits: Dict[str, UnitEdit]) -> Predictions:
        """The predictions and losses of a text when units are set.

        Args:
            run: of the text.
            side: of the units.
            edits: by state.
        """
        reader, device = self.model.reader, self.model.device
        inputs, following = (words.to(device) for words in run.text.sentences.target(0))
        with self.lock, torch.no_grad():
            memory: Any = None
            if "encoder" in self.sides:
                source = run.text.sentences.source(0).to(device).unsqueeze(0)
                lengths = torch.tensor([source.size(1)], device=device)
                memory = reader.encode(source, lengths, Change(edits) if side == "encoder" else UNCHANGED)
            change = Change(edits) if side == "decoder" else UNCHANGED
            outputs = reader.decoder_states(inputs.unsqueeze(0), memory, change).outputs[0]  # (T, H)
            padding = reader.model.decoder.dictionary.pad()
            measures = prediction_measures(reader, outputs, following, self.top, padding)
        arrays = {name: values.cpu().numpy() for name, values in measures.items()}
        return Predictions(arrays[self.measure], arrays["predictions"], arrays["prediction_scores"])

    def attribution(self, run: OwnRun, method: str) -> Attribution:
        """The attribution of every next word of a text."""
        sentences = run.text.sentences
        source = sentences.source(0) if "encoder" in self.sides else None
        with self.lock:
            return attribute(self.model.reader, source, *sentences.target(0), method, STEPS)


def open_session(checkpoint: str, data: Optional[str], capture: CaptureReader, cpu: bool = False) -> Session:
    """Loads the model of a capture.

    Args:
        checkpoint: the file.
        data: folder with the dictionaries; None: the folder of its training.
        capture: the capture.
        cpu: use no GPU.

    Raises:
        UserError: the model cannot be loaded, or is not that of the capture.
    """
    check_summary(checkpoint, capture)
    names = [name for side in capture.sides.values() for name in side.state_names]
    model = load(checkpoint, data, any(name.startswith(GATES) for name in names), cpu)
    check_dictionaries(checkpoint, model.architecture, model.symbols(), capture)
    session = Session(model)
    run = session.run("", "")
    sizes: Dict[str, Dict[str, int]] = {side: {} for side in session.sides}
    for (file, name), values in run.record.items():
        side, _, kind = file.partition("/")
        if kind == "states.hdf5":
            sizes[side][name] = values.shape[1]
    check_units(checkpoint, sizes, capture)
    return session
