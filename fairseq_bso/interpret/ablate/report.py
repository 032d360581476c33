"""The results of an ablation as a table, JSON or CSV. A rise is a mean loss with units set minus that without."""

import csv
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

import numpy

from ...errors import UserError
from ...files import atomic_write
from .options import AblationOptions

__all__ = ["Report", "Rise", "table", "write_report"]

WIDEST = 8  # labels in the table
LONGEST = 12  # letters of a label in the table


class Rise(NamedTuple):
    """The rise of the mean loss when some units are set to their means."""

    units: List[str]
    total: float
    """over all words"""
    by_label: Dict[str, numpy.ndarray]
    """track -> (L,)"""


class Report(NamedTuple):
    """The results of an ablation."""

    facts: Dict[str, Any]
    """capture, checkpoint, measure (loss or score), side, seed"""
    words: int
    """that were predicted"""
    loss: float
    """the mean without a change; of a model without probabilities the mean negative score"""
    labels: Dict[str, List[str]]
    """track -> L labels"""
    counts: Dict[str, numpy.ndarray]
    """track -> (L,) words"""
    by_label: Dict[str, numpy.ndarray]
    """track -> (L,) the mean loss without a change"""
    chosen: List[Tuple[Tuple[str, ...], Rise]]
    """the states of each set of units, and its rise"""
    controls: Dict[Tuple[str, ...], List[Rise]]
    """the states of a set -> the rises of random sets of units of the same states"""

    def ranked(self) -> List[Tuple[Tuple[str, ...], Rise]]:
        """The chosen sets, the largest rise first."""
        return sorted(self.chosen, key=lambda one: -one[1].total)


def table(report: Report, options: AblationOptions) -> str:
    """The largest rises, with those of some labels of a track.

    Args:
        report: the results.
        options: the track, its labels, and the largest number of sets of units.
    """
    track, counts = options.track, report.counts[options.track]
    shown = [report.labels[track].index(label) for label in options.columns]
    shown = shown or [place for place in numpy.argsort(-counts, kind="stable")[:WIDEST].tolist() if counts[place]]
    names = [report.labels[track][place][:LONGEST] for place in shown]
    rows: List[List[str]] = [[f"{report.facts['side']} units, by {track}", "all words", *names]]
    rows.append(["words", f"{report.words:,}", *(f"{int(counts[place]):,}" for place in shown)])
    losses = [f"{report.by_label[track][place]:.3f}" for place in shown]
    rows.append([report.facts["measure"].replace("score", "negative score"), f"{report.loss:.3f}", *losses])

    def add(name: str, total: float, by_label: numpy.ndarray) -> None:
        rows.append([name, f"{total:+.3f}", *(f"{by_label[place]:+.3f}" for place in shown)])

    ranked = report.ranked()[: options.top]
    for _, rise in ranked:
        add(_short(rise.units), rise.total, rise.by_label[track])
    for states in dict.fromkeys(states for states, _ in ranked):
        rises = report.controls[states]
        if not rises:
            continue
        of_what = _short([f"{states.count(state)} of {state}" for state in dict.fromkeys(states)])
        totals, parts = _stacked(rises, track)
        add(f"{len(rises)} random, {of_what}: mean", totals.mean(), parts.mean(0))
        add("  largest", totals.max(), parts.max(0))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths)) for row in rows)
    ]
    left_out = len(report.chosen) - len(ranked)
    more = [f"{left_out} more sets of units with a smaller rise"] if left_out else []
    return "\n".join([*(line.rstrip() for line in lines), *more])


def _short(names: List[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _stacked(rises: List[Rise], track: str) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """(sets,) and (sets, L)."""
    return numpy.array([rise.total for rise in rises]), numpy.stack([rise.by_label[track] for rise in rises])


def write_report(report: Report, path: Path) -> None:
    """Writes JSON or CSV, by the ending of the name. Raises UserError if the file cannot be written."""
    try:
        if path.suffix == ".csv":
            with atomic_write(path, "w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(_lines(report))
        else:
            with atomic_write(path, "w", encoding="utf-8") as file:
                json.dump(_content(report), file, indent=1, ensure_ascii=False)
                file.write("\n")
    except OSError as error:
        raise UserError(f"--out {path} cannot be written: {error.strerror or error}") from None


def _content(report: Report) -> Dict[str, Any]:
    """The content of a JSON file."""

    def written(rise: Rise) -> Dict[str, Any]:
        return {"units": rise.units, "rise": rise.total, "tracks": _lists(rise.by_label)}

    tracks = {
        name: {
            "labels": labels,
            "words": report.counts[name].astype(int).tolist(),
            "loss": _list(report.by_label[name]),
        }
        for name, labels in report.labels.items()
    }
    return {
        **report.facts,
        "words": report.words,
        "loss": report.loss,
        "tracks": tracks,
        "sets": [{**written(rise), "control": ",".join(states)} for states, rise in report.ranked()],
        "controls": {",".join(states): [written(rise) for rise in rises] for states, rises in report.controls.items()},
    }


def _lists(by_label: Dict[str, numpy.ndarray]) -> Dict[str, List[float]]:
    return {name: _list(values) for name, values in by_label.items()}


def _list(values: numpy.ndarray) -> List[float]:
    return [round(value, 6) for value in values.tolist()]


def _lines(report: Report) -> List[List[Any]]:
    """The lines of a CSV file: one for each set of units and label, and one for all words."""
    lines: List[List[Any]] = [["units", "track", "label", "words", "loss", "rise", "control_mean", "control_largest"]]
    for states, rise in report.ranked():
        name, rises = " ".join(rise.units), report.controls[states]
        totals = numpy.array([rise.total for rise in rises])
        lines.append([name, "", "", report.words, report.loss, rise.total, *_both(totals)])
        for track, labels in report.labels.items():
            for place, label in enumerate(labels):
                parts = numpy.array([rise.by_label[track][place] for rise in rises])
                numbers = [int(report.counts[track][place]), report.by_label[track][place], rise.by_label[track][place]]
                lines.append([name, track, label, *numbers, *_both(parts)])
    return [[round(cell, 6) if isinstance(cell, float) else cell for cell in line] for line in lines]


def _both(values: numpy.ndarray) -> List[Any]:
    """Mean and largest; empty without a control."""
    return [float(values.mean()), float(values.max())] if len(values) else ["", ""]
