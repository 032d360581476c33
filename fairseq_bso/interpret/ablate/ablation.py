"""Sets units to their means over the corpus of a capture, and measures the rise of the loss.

The control sets random units of the same states to their means in the same way. A unit matters for a label if its rise
there is far above that of the control. `interpret.models.changes` says which later states a unit that is set affects.
"""

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy
from tqdm import tqdm

from ...errors import UserError
from ..folder.fitting import check_dictionaries, check_summary
from ..folder.reader import CaptureReader, Side, open_capture
from ..models.loading import load
from ..models.state_reader import LoadedModel
from .corpus import Corpus, read_corpus
from .labels import Labels, labels_of
from .losses import LossSums, losses_under, row_losses
from .options import AblationOptions
from .report import Report, Rise
from .units import UnitGroup, control_groups, edits_of, named_units, unit_names

__all__ = ["ablate"]

CLOSE = 0.02  # of a loss in the capture: 16-bit files and other devices round


def ablate(checkpoint: str, data: Optional[str], folder: str, options: AblationOptions) -> Report:
    """Measures the rise of the loss for each unit, or for all together.

    Args:
        checkpoint: the model of the capture.
        data: folder with the dictionaries; None: the folder of its training.
        folder: the capture.
        options: what is set.

    Raises:
        UserError: options, model and capture do not fit together.
    """
    options.check()
    capture = open_capture(Path(folder))
    check_summary(checkpoint, capture)
    if options.side not in capture.sides:
        raise UserError(f"--side {options.side}: {folder} has {' and '.join(capture.sides)}")
    side = capture.sides[options.side]
    chosen = named_units(side, options.units)
    model = load(checkpoint, data, cpu=options.cpu)
    check_dictionaries(checkpoint, model.architecture, model.symbols(), capture)
    corpus = read_corpus(model, capture)
    labels = _labels(model, capture, corpus)
    if options.track not in labels:
        raise UserError(f"--track {options.track}: the decoder of {folder} has {', '.join(labels)}")
    unknown = [label for label in options.columns if label not in labels[options.track].names]
    if unknown:
        raise UserError(f"--labels {unknown[0]}: {options.track} has {', '.join(labels[options.track].names)}")
    _check_losses(checkpoint, row_losses(model, corpus, options.max_tokens), corpus)
    groups: List[UnitGroup] = [chosen] if options.together else [(unit,) for unit in chosen]
    controls = _controls(groups, chosen, side, options)
    distinct = list(dict.fromkeys([*groups, *(group for several in controls.values() for group in several)]))
    measured = _measure(model, corpus, side, distinct, labels, options)
    return _report(model, capture, corpus, labels, groups, controls, measured, options)


def _labels(model: LoadedModel, capture: CaptureReader, corpus: Corpus) -> Dict[str, Labels]:
    """The tracks of the decoder, and the predicted words."""
    following = numpy.concatenate([words.numpy() for words in corpus.following])  # (R,)
    return labels_of(capture.sides["decoder"], following, list(model.task.target_dictionary.symbols))


def _check_losses(checkpoint: str, losses: numpy.ndarray, corpus: Corpus) -> None:
    """Raises UserError unless the losses are those of the capture."""
    if corpus.measured is None:
        return
    known = numpy.isfinite(corpus.measured)
    apart = numpy.abs(numpy.abs(losses) - numpy.abs(corpus.measured))[known]
    if apart.size and apart.max() > CLOSE:
        place = int(numpy.flatnonzero(known)[apart.argmax()])
        sentence = int(numpy.searchsorted(corpus.offsets, place, side="right")) - 1
        raise UserError(
            f"{checkpoint} gives sentence {sentence} (counted from 0) another loss than the capture, by "
            f"{apart.max():.3f}: capture the states again with this model and the same data"
        )


def _controls(
    groups: List[UnitGroup], chosen: UnitGroup, side: Side, options: AblationOptions
) -> Dict[Tuple[str, ...], List[UnitGroup]]:
    """The random groups for each composition of states among the groups."""
    sizes = {state.name: state.units for state in side.states}
    compositions = sorted({tuple(sorted(state for state, _ in group)) for group in groups})
    if not options.control:
        return {states: [] for states in compositions}
    return {states: control_groups(chosen, states, sizes, options.control, options.seed) for states in compositions}


def _measure(
    model: LoadedModel,
    corpus: Corpus,
    side: Side,
    groups: List[UnitGroup],
    labels: Dict[str, Labels],
    options: AblationOptions,
) -> Dict[UnitGroup, LossSums]:
    """The losses with each group of units set; those of the empty group are without a change."""
    used = {state for group in groups for state, _ in group}
    means = {state.name: state.mean() for state in side.states if state.name in used}
    changes = [edits_of(group, means) for group in ((), *groups)]
    rows = int(corpus.offsets[-1]) * len(changes)
    with tqdm(total=rows, unit=" words", desc="ablating", disable=None) as progress:
        found = losses_under(model, corpus, side.name, changes, labels, options.max_tokens, progress.update)
    return dict(zip(((), *groups), found))


def _report(
    model: LoadedModel,
    capture: CaptureReader,
    corpus: Corpus,
    labels: Dict[str, Labels],
    groups: List[UnitGroup],
    controls: Dict[Tuple[str, ...], List[UnitGroup]],
    measured: Dict[UnitGroup, LossSums],
    options: AblationOptions,
) -> Report:
    """The rises of the mean loss from the measured sums, with all that the table and the file need."""
    rows = int(corpus.offsets[-1])
    counts = {name: track.counts for name, track in labels.items()}
    plain = measured[()]

    def mean(sums: LossSums) -> Tuple[float, Dict[str, numpy.ndarray]]:
        return sums.total / rows, {
            name: values / numpy.maximum(1, counts[name]) for name, values in sums.by_label.items()
        }

    loss, by_label = mean(plain)

    def rise(units: UnitGroup) -> Rise:
        total, parts = mean(measured[units])
        return Rise(unit_names(units), total - loss, {name: parts[name] - by_label[name] for name in parts})

    facts: Dict[str, Any] = {
        "capture": capture.folder.name,
        "checkpoint": capture.describe()["checkpoint"],
        "measure": "score" if model.reader.unnormalized else "loss",
        "side": options.side,
        "seed": options.seed,
    }
    chosen = [(tuple(sorted(state for state, _ in group)), rise(group)) for group in groups]
    random = {states: [rise(group) for group in several] for states, several in controls.items()}
    names = {name: track.names for name, track in labels.items()}
    return Report(facts, rows, loss, names, counts, by_label, chosen, random)
