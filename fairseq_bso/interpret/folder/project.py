"""A project folder of LSTMVis: `lstm.yml` and the files that it names."""

import math
import re
from pathlib import Path
from typing import Any, Dict, List, Sequence

import h5py
import yaml

from ...errors import UserError

__all__ = ["AGAIN", "Project", "open_hdf5", "word_of"]

AGAIN = "capture the states again"
# A small file must not fill memory and disk: a dataset need not hold what its shape claims.
LARGEST_RATIO, ALWAYS_ALLOWED = 512, 2**25  # bytes of a dataset for each byte of its file, and bytes beside that
ENTRY = re.compile(r"(.*)[ \t](\d{1,15})\r?")  # of a dictionary


class Project:
    """Opens the files that the `lstm.yml` of a folder names. A reference is a key of its `files`, or a file's name.

    `remedy` ends the messages about a file: a capture can be made again, a folder of another program be corrected.

    Args:
        folder: the project folder.

    Raises:
        UserError: a file is missing, damaged, or outside the folder.
    """

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / "lstm.yml"
        self._open: Dict[Path, "h5py.File"] = {}
        own = (folder.parent / "capture.json").is_file()
        self.remedy = AGAIN if own else f"correct the file, or what {self.path} says of it"
        try:
            self.content = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"the file {self.path} is missing: {self.remedy}") from None
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
            raise UserError(f"the file {path} is missing: {self.remedy}")
        return path

    def hdf5(self, reference: Any) -> "h5py.File":
        """An HDF5 file, opened only once."""
        path = self.file(reference)
        if path not in self._open:
            self._open[path] = open_hdf5(path, self.remedy)
        return self._open[path]

    def words(self, reference: Any) -> List[str]:
        """The words of a dictionary by id. Each line holds "word id", or a tab between them; a word may be a space."""
        path = self.file(reference)
        numbers: Dict[int, str] = {}
        try:
            for place, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
                entry = ENTRY.fullmatch(line)
                if entry is not None:
                    numbers[int(entry[2])] = entry[1]
                elif line:
                    raise ValueError(f"line {place} is no word, a space and a whole number")
            if not numbers or max(numbers) > 10 * len(numbers) + 1000:
                raise ValueError("the numbers of its words are not those of a dictionary")
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}; {self.remedy}") from None
        return [numbers.get(number, _unnamed(number)) for number in range(max(numbers) + 1)]


def word_of(words: Sequence[str], number: int) -> str:
    """The word of an id. An id that the dictionary does not have is shown as a number."""
    return words[number] if 0 <= number < len(words) else _unnamed(number)


def _unnamed(number: int) -> str:
    return f"#{number}"


def open_hdf5(path: Path, remedy: str) -> "h5py.File":
    """Opens a file for reading.

    Raises:
        UserError: it is truncated or no HDF5 file, refers to other files, or claims far more data than it holds. The
            message ends with the remedy.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"{path} cannot be opened, it is cut off or no HDF5 file: {remedy} ({error})") from None
    _refuse_other_files(file, path)
    most = LARGEST_RATIO * path.stat().st_size + ALWAYS_ALLOWED
    for dataset in _datasets(file):
        size = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
        if size > most:
            raise UserError(
                f"{path} has {path.stat().st_size:,} bytes, but claims {size / 1e6:,.0f} MB in {dataset.name}: {remedy}"
            )
    return file


def _refuse_other_files(file: "h5py.File", path: Path) -> None:
    """Raises UserError if a part of the data is in another file, which the page would then show."""
    links: List[str] = []

    def note(name: Any, info: Any) -> None:
        if info.type == h5py.h5l.TYPE_EXTERNAL:
            links.append(name.decode("utf-8", "replace"))

    file.id.links.visit(note, info=True)
    for dataset in _datasets(file):
        virtual = dataset.virtual_sources() if dataset.is_virtual else []
        if dataset.external or any(source.file_name != "." for source in virtual):
            links.append(dataset.name)
    if links:
        raise UserError(f"{path} refers to data in another file ({links[0]}): copy the data into it")


def _datasets(file: "h5py.File") -> List["h5py.Dataset"]:
    found: List["h5py.Dataset"] = []
    file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found
