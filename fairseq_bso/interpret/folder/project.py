"""A project folder of LSTMVis: `lstm.yml` and the files that it names."""

from pathlib import Path
from typing import Any, Dict, List

import h5py
import yaml

from ...errors import UserError

__all__ = ["Project", "open_hdf5"]


class Project:
    """Opens the files that the `lstm.yml` of a folder names. A reference is a key of its `files`, or a file's name.

    Args:
        folder: the project folder.

    Raises:
        UserError: a file is missing, damaged, or outside the folder.
    """

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / "lstm.yml"
        self._open: Dict[Path, "h5py.File"] = {}
        try:
            self.content = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path} cannot be read: {' '.join(str(error).split())}") from None
        if not isinstance(self.content, dict):
            raise UserError(f"{self.path} is not the description of a project")

    def part(self, name: str) -> Dict[str, Any]:
        """A part that the description must have."""
        part = self.content.get(name)
        if not isinstance(part, dict):
            raise UserError(f"{self.path} has no part {name!r}")
        return part

    def file(self, reference: Any) -> Path:
        """The path of a reference."""
        files = self.content.get("files") or {}
        path = self.folder / str(files.get(reference, reference))
        if reference is None or self.folder.resolve() not in path.resolve().parents:
            raise UserError(f"{self.path} names no file, or one outside of its folder: {reference!r}")
        if not path.is_file():
            raise UserError(f"the file {path} is missing: capture the states again")
        return path

    def hdf5(self, reference: Any) -> "h5py.File":
        """An HDF5 file, opened only once."""
        path = self.file(reference)
        if path not in self._open:
            self._open[path] = open_hdf5(path)
        return self._open[path]

    def words(self, reference: Any) -> List[str]:
        """The words of a dictionary by id. Each line holds "word id", where the word may be a space."""
        path = self.file(reference)
        numbers: Dict[int, str] = {}
        try:
            for line in path.read_text(encoding="utf-8").split("\n"):
                if line:
                    word, number = line.rstrip("\r").rsplit(" ", 1)
                    numbers[int(number)] = word
            if not numbers or min(numbers) < 0 or max(numbers) > 10 * len(numbers) + 1000:
                raise ValueError("the numbers of its words are not those of a dictionary")
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None
        return [numbers.get(number, f"#{number}") for number in range(max(numbers) + 1)]


def open_hdf5(path: Path) -> "h5py.File":
    """Opens a file for reading. Raises UserError if it is truncated or no HDF5 file."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UserError(
            f"{path} cannot be opened, it is cut off or no HDF5 file: capture the states again ({error})"
        ) from None
