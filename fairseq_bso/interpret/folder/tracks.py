"""Tracks: one label or number for each word of a side."""

import json
from typing import Any, Dict, List, Optional

import h5py
import numpy

from ...errors import UserError, counted
from .datasets import dataset, whole
from .project import Project

__all__ = ["Track", "read_tracks"]

# An integer track without labels counts as labels up to this number of values, and as numbers above it.
MOST_NUMBERS_AS_LABELS = 64


class Track:
    """One value for each step, (T,).

    A track with `labels` has int32 codes, negative for a step without a label. Any other track has float32 numbers, NaN
    for a step without a number.

    Args:
        name: the name on the page.
        values: (T,) of any number type.
        labels: a name for each code; None for numbers.
    """

    def __init__(self, name: str, values: numpy.ndarray, labels: Optional[List[str]]):
        self.name, self.labels = name, labels
        if labels is not None and len(values) and values.max() >= len(labels):
            raise UserError(f"the track {name} has a code above those of its {counted(len(labels), 'label')}")
        self.values = values.astype(numpy.float32 if labels is None else numpy.int32)
        if labels is not None:
            return
        finite = self.values[numpy.isfinite(self.values)]
        self.values[~numpy.isfinite(self.values)] = numpy.nan
        self.low = float(finite.min()) if len(finite) else 0.0
        self.high = float(finite.max()) if len(finite) else 1.0  # upper end of the colour scale

    def window(self, start: int, stop: int) -> List[Optional[float]]:
        """The values of the steps from start to before stop; None for a step without a value."""
        if self.labels is not None:
            return [code if code >= 0 else None for code in self.values[start:stop].tolist()]
        values = numpy.round(self.values[start:stop].astype(numpy.float64), 4)
        return [value if numpy.isfinite(value) else None for value in values.tolist()]

    def describe(self) -> Dict[str, Any]:
        """The description for the page."""
        if self.labels is not None:
            return {"name": self.name, "labels": self.labels}
        return {"name": self.name, "range": [self.low, self.high]}


def read_tracks(project: Project, train: "h5py.File", steps: int) -> Dict[str, Track]:
    """The user's tracks, from the words' file and from lstm.yml, then the loss of the next word.

    Raises:
        UserError: a track does not have one value for each step, or a code has no label.
    """
    tracks: Dict[str, Track] = {}
    group = train.get("meta")
    for name in sorted(group) if isinstance(group, h5py.Group) else []:
        tracks[name] = _track(name, group[name], _labels(group[name]), steps, project.remedy)
    for name, entry in (project.content.get("meta") or {}).items():
        track = None if name in tracks or not isinstance(entry, dict) else _described(project, str(name), entry, steps)
        if track is not None:
            tracks[str(name)] = track
    for name in ("loss", "score"):
        if name in train and name not in tracks:
            tracks[name] = _track(name, train[name], None, steps, project.remedy)
            finite = tracks[name].values[numpy.isfinite(tracks[name].values)]
            # Without this limit a few very unexpected words would leave one colour for all other words.
            tracks[name].high = float(numpy.quantile(finite, 0.99)) if len(finite) else 1.0
    return tracks


def _track(name: str, data: Any, labels: Optional[List[str]], steps: int, remedy: str) -> Track:
    if not isinstance(data, h5py.Dataset) or data.shape != (steps,) or data.dtype.kind not in "iufb":
        raise UserError(f"the track {name} does not hold one number for each of {steps:,} steps: {remedy}")
    values = data[:] if labels is None else whole(data, remedy)
    if labels is None and values.dtype.kind in "iub" and -1 <= values.min() <= values.max() < MOST_NUMBERS_AS_LABELS:
        labels = [str(number) for number in range(int(values.max()) + 1)]
    return Track(name, values, labels)


def _labels(data: Any) -> Optional[List[str]]:
    text = data.attrs.get("labels")
    if text is None:
        return None
    try:
        return [str(label) for label in json.loads(text)]
    except (TypeError, ValueError):
        raise UserError(f"the labels of {data.name} are no JSON list") from None


def _described(project: Project, name: str, entry: Dict[str, Any], steps: int) -> Optional[Track]:
    """A track that lstm.yml describes; None for a kind that the page does not show, such as a word list."""
    if entry.get("type") == "wordvec" or str(entry.get("path", "")).startswith("meta/"):
        return None
    file = project.hdf5(entry.get("file"))
    data = dataset(file, str(entry.get("path")))
    if data is None or data.ndim != 1:
        return None
    labels = project.words(entry["dict"]) if entry.get("dict") else _labels(data)
    return _track(name, data, labels, steps, project.remedy)
