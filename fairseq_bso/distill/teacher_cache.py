"""What a teacher says of sentences, kept: in memory, and in a folder that several trainings share.

manifest.json      which teacher, and how many words
*.npz              some sentences each; a file appears whole or not at all, from any worker of any training
"""

import json
import uuid
import zipfile
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from ..errors import BadInput
from ..files import atomic_write, sha256
from .teacher import Teacher

VERSION = 1

Likeliest = Dict[bytes, Tuple[Tensor, Tensor]]
"""Of each sentence, known by a digest: (t, C) log-probabilities and (t, C) words, the likeliest first."""


class TeacherMemory:
    """The likeliest words of a teacher that never changes, computed once for each pair of source and target.

    A sentence is known by its words on both sides, so that numbering, order, shards and subsets do not matter. A batch
    with a sentence that is not known yet is computed as a whole. Kept in the memory of this process: 8 bytes for each
    of the `size` words at each target word.

    Args:
        teacher: whose words.
        size: how many at each target word; at most the vocabulary counts.
        padding: of both dictionaries.
        folder: where they are kept for the next training too.
    """

    def __init__(self, teacher: Teacher, size: int, padding: int, folder: Optional["MemoryFolder"] = None) -> None:
        self.teacher, self.size, self.padding, self.folder = teacher, size, padding, folder
        self.known: Likeliest = dict(folder.sentences()) if folder is not None else {}
        self.unwritten: Likeliest = {}

    def likeliest(self, net_input: Dict[str, Any]) -> Tuple[Tensor, Tensor]:
        """(B, T, C) float32 log-probabilities and (B, T, C) int64 words, the likeliest first; 0 at padding.

        Raises:
            BadInput: the folder cannot be written to.
        """
        prefixes = net_input["prev_output_tokens"]
        names, lengths = self._names(net_input)
        if all(name in self.known for name in names):
            self._write_at(1)  # a known batch: an epoch is over, or a subset
        else:
            found = self.teacher.log_probs(net_input)  # (B, T, V)
            log_probs, words = found.topk(min(self.size, found.size(-1)), dim=-1)  # (B, T, C)
            log_probs, words = log_probs.cpu(), words.to("cpu", torch.int32)
            for row, (name, length) in enumerate(zip(names, lengths)):
                if name not in self.known:  # what is known stays as it is, whatever company it comes back in
                    self.known[name] = log_probs[row, :length].clone(), words[row, :length].clone()
                    self.unwritten[name] = self.known[name]
            self._write_at(MemoryFolder.PART)
        log_probs, words = (pad_sequence(part, batch_first=True) for part in zip(*(self.known[name] for name in names)))
        missing = (0, 0, 0, prefixes.size(1) - log_probs.size(1))  # a batch may be wider than its longest sentence
        log_probs, words = pad(log_probs, missing), pad(words, missing)
        return log_probs.to(prefixes.device), words.to(prefixes.device, torch.int64)

    def _write_at(self, count: int) -> None:
        """Writes what is not written yet once it is `count` sentences."""
        if len(self.unwritten) >= count:
            if self.folder is not None:
                self.folder.write(self.unwritten)
            self.unwritten = {}

    def _names(self, net_input: Dict[str, Any]) -> Tuple[List[bytes], List[int]]:
        """A digest of each pair's words without their padding, and how many target words there are."""
        sides = [net_input[side].to("cpu", torch.int32).numpy() for side in ("src_tokens", "prev_output_tokens")]
        names, lengths = [], []
        for pair in zip(*sides):
            source, prefix = (row[row != self.padding] for row in pair)
            # The length keeps the border between the two.
            text = len(source).to_bytes(4, "little") + source.tobytes() + prefix.tobytes()
            names.append(blake2b(text, digest_size=MemoryFolder.DIGEST).digest())
            lengths.append(len(prefix))
        return names, lengths


class MemoryFolder:
    """A folder that keeps what a teacher says of sentences.

    Args:
        folder: is made if it does not exist.
        teacher: whose words are kept; its checkpoints must be on disk.
        size: how many words at each target word.

    Raises:
        BadInput: the folder is of another teacher or size, or no such folder, or cannot be written.
    """

    PART = 2000  # sentences in a file
    DIGEST = 16  # bytes

    def __init__(self, folder: str, teacher: Teacher, size: int) -> None:
        self.folder = Path(folder)
        identity = {
            "version": VERSION,
            "the teacher's checkpoint": [sha256([Path(path)]) for path in teacher.paths],
            "--teacher-top-k": size,
            "--teacher-dtype": teacher.dtype,
        }
        path = self.folder / "manifest.json"
        # Workers that start together all write the same manifest.
        if path.exists():
            self._refuse_other(path, identity)
        elif any(other.name != path.name and other.suffix != ".partial" for other in self.folder.glob("*")):
            raise BadInput(f"{folder} holds other files: give --teacher-memory-folder a folder of its own")
        else:
            with self._writing(path) as file:
                file.write((json.dumps(identity, indent=1) + "\n").encode("utf-8"))

    def sentences(self) -> Iterator[Tuple[bytes, Tuple[Tensor, Tensor]]]:
        """All that was written. Raises BadInput where a file is damaged."""
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with numpy.load(path, allow_pickle=False) as arrays:
                    names, lengths = arrays["names"], arrays["lengths"].tolist()
                    log_probs, words = (torch.from_numpy(arrays[name]) for name in ("log_probs", "words"))
                several = list(zip(names, log_probs.split(lengths), words.split(lengths)))
            except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as fault:
                raise BadInput(
                    f"{path}, which keeps what the teacher said, is damaged ({fault}): remove this file, and it is "
                    "computed again"
                ) from None
            for name, *likeliest in several:
                yield name.tobytes(), tuple(likeliest)

    def write(self, likeliest: Likeliest) -> None:
        """Keeps more sentences. Raises BadInput where that fails."""
        arrays = {
            "names": numpy.frombuffer(b"".join(likeliest), numpy.uint8).reshape(-1, self.DIGEST),
            "lengths": numpy.array([len(log_probs) for log_probs, _ in likeliest.values()], numpy.int64),
            "log_probs": torch.cat([log_probs for log_probs, _ in likeliest.values()]).numpy(),  # (sum of t, C)
            "words": torch.cat([words for _, words in likeliest.values()]).numpy(),
        }
        with self._writing(self.folder / f"{uuid.uuid4().hex}.npz") as file:
            numpy.savez(file, **arrays)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[Any]:
        try:
            with atomic_write(path) as file:
                yield file
        except OSError as fault:
            raise BadInput(
                f"what the teacher says cannot be written to {self.folder} ({fault.strerror or fault}): make room or "
                "give another --teacher-memory-folder; what is finished there is kept"
            ) from None

    def _refuse_other(self, path: Path, identity: Dict[str, Any]) -> None:
        try:
            then = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise BadInput(f"{path} is damaged: remove the folder {self.folder}, and it is made again") from None
        for name in identity:
            if then.get(name) != identity[name]:
                raise BadInput(
                    f"{self.folder} keeps what another teacher said: {name} was {then.get(name)}, is now "
                    f"{identity[name]}: give the same as then, or another --teacher-memory-folder"
                )
