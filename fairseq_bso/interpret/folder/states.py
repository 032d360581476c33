"""The states of a side: the datasets that `lstm.yml` names, checked, with their units numbered from 0 on."""

from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import h5py
import numpy

from ...errors import UserError
from .datasets import REAL, dataset
from .project import Project

__all__ = ["States", "open_states"]

BLOCK = 1 << 24  # values that are read at a time


class States:
    """One dataset of states, (T, units).

    Args:
        name: of the dataset, such as "hidden1".
        data: the dataset.
        first: the number of its first unit among all units of the side.
        transform: "tanh" for unbounded cell states, else "none".
    """

    def __init__(self, name: str, data: "h5py.Dataset", first: int, transform: str):
        self.name, self.data, self.first, self.transform = name, data, first, transform
        self.units = int(data.shape[1])

    def window(self, start: int, stop: int) -> numpy.ndarray:
        """The steps from start to before stop: (stop - start, units) float32, transformed."""
        values = self.data[start:stop].astype(numpy.float32)
        return numpy.tanh(values) if self.transform == "tanh" else values

    def mean(self) -> numpy.ndarray:
        """(units,) float64: the means over all steps, of cell states before tanh."""
        height, steps = max(1, BLOCK // self.units), int(self.data.shape[0])
        total = numpy.zeros(self.units)
        for start in range(0, steps, height):
            total += self.data[start : start + height].astype(numpy.float64).sum(0)
        return total / max(1, steps)

    def describe(self) -> Dict[str, Any]:
        """The description for the page."""
        return {"name": self.name, "units": self.units, "first": self.first, "transform": self.transform}


class _Dataset(NamedTuple):
    """A dataset of states before it is checked."""

    name: str
    file: "h5py.File"
    transform: str


def open_states(project: Project, own: bool) -> List[States]:
    """The states of a side, checked, with their units numbered from 0 on."""
    states: List[States] = []
    first = 0
    for name, file, transform in _own_states(project) if own else _foreign_states(project):
        data = dataset(file, name)
        if data is None or data.ndim != 2 or data.dtype.kind not in REAL:
            raise UserError(f"{file.filename} has no states {name!r} of two dimensions: {project.remedy}")
        if states and len(states[0].data) != len(data):
            raise UserError(f"{file.filename}: {name} and {states[0].name} differ in their number of steps")
        states.append(States(name, data, first, transform))
        first += states[-1].units
    if not states or not states[0].data.shape[0]:
        raise UserError(f"{project.folder} holds no states: capture some sentences first")
    return states


def _own_states(project: Project) -> List[_Dataset]:
    """The datasets of `fairseq-bso states`: those of lstm.yml in its order, then all others of the same file."""
    file = project.hdf5(project.part("states").get("file"))
    found = {
        name: _Dataset(name, source, described.get("transform") or _default_transform(name))
        for name, source, described in _named_states(project)
    }
    for name in sorted(file):
        if isinstance(file[name], h5py.Dataset) and file[name].ndim == 2:
            found.setdefault(name, _Dataset(name, file, _default_transform(name)))
    return list(found.values())


def _foreign_states(project: Project) -> List[_Dataset]:
    """The datasets of another program: those of lstm.yml. LSTMVis applies tanh unless lstm.yml says otherwise."""
    found = {
        name: _Dataset(name, source, described.get("transform", "tanh") or _default_transform(name))
        for name, source, described in _named_states(project)
    }
    return list(found.values())


def _named_states(project: Project) -> Iterator[Tuple[str, "h5py.File", Dict[str, Any]]]:
    """Name, file and description of each dataset of states that lstm.yml names."""
    part = project.part("states")
    for described in part.get("types") or []:
        if not isinstance(described, dict) or "path" not in described:
            raise UserError(f"{project.path}: each of the states' types needs a path")
        yield str(described["path"]), project.hdf5(described.get("file", part.get("file"))), described


def _default_transform(name: str) -> str:
    """Cell states, which have no bounds, are shown after tanh."""
    return "tanh" if name.startswith("cell") else "none"
