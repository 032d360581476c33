"""A cache of the teacher's top k words: in memory, and in a folder that several trainings share.

manifest.json      which teacher, and how many words
*.npz              some sentences each, and a digest of the manifest; any worker of any training writes one, atomically
lock               while a process compares the manifest with its own, or writes it
"""

import hashlib
import json
import logging
import uuid
from contextlib import contextmanager
from hashlib import blake2b
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy
import torch
from torch import Tensor

from ..errors import UserError, short
from ..files import DAMAGED_NPZ, atomic_write, remove_abandoned, sha256
from ..locks import alone
from .teacher import Teacher

logger = logging.getLogger(__name__)

VERSION = 1

TopK = Dict[bytes, Tuple[Tensor, Tensor]]
"""digest of a sentence -> (t, C) log-probabilities and (t, C) words, most probable first"""


class TeacherTopKCache:
    """The top k words of a teacher, computed once for each pair of source and target.

    The words of both sides identify a sentence, so that numbering, order, shards and subsets do not matter. A batch
    with an unknown sentence is computed as a whole. The cache takes 8 bytes of this process's memory for each of the k
    words at each target word.

    Args:
        teacher: the frozen teacher.
        size: k, how many words to keep at each target word; at most the vocabulary.
        padding: the padding symbol of both dictionaries.
        folder: keeps the words for later trainings.
    """

    def __init__(self, teacher: Teacher, size: int, padding: int, folder: Optional["TopKFolder"] = None) -> None:
        self.teacher, self.size, self.padding, self.folder = teacher, size, padding, folder
        self.known: TopK = dict(folder.sentences()) if folder is not None else {}
        self.unwritten: TopK = {}
        if folder is not None:
            # At the end of the process: fairseq tells a criterion nothing when training ends. `atexit` would leave out
            # the workers that fairseq-train starts.
            self.at_the_end = Finalize(self, _write_rest, (folder, self.unwritten), exitpriority=1)

    def top_k(self, net_input: Dict[str, Any]) -> Tuple[Tensor, Tensor]:
        """(B, T, C) float32 log-probabilities and (B, T, C) int64 words, most probable first; both 0 at padding.

        Raises:
            UserError: if the folder cannot be written.
        """
        prefixes = net_input["prev_output_tokens"]
        digests = self._digests(net_input)
        if all(digest in self.known for digest in digests):
            self._write_unwritten(at_least=1)  # a known batch begins a new epoch or another subset
        else:
            self._compute(net_input, digests)
            self._write_unwritten(at_least=TopKFolder.PART)
        real = prefixes.ne(self.padding).cpu()  # (B, T)
        log_probs, words = (torch.cat(parts) for parts in zip(*(self.known[digest] for digest in digests)))  # (N, C)
        log_probs, words = (
            part.new_zeros(*real.shape, part.size(1)).masked_scatter_(real.unsqueeze(2), part)
            for part in (log_probs, words)
        )
        return log_probs.to(prefixes.device), words.to(prefixes.device, torch.int64)

    def _compute(self, net_input: Dict[str, Any], digests: List[bytes]) -> None:
        """Adds a batch. Sentences that are known already keep their values: rounding differs from batch to batch."""
        log_probs = self.teacher.log_probs(net_input)  # (B, T, V)
        log_probs, words = log_probs.topk(min(self.size, log_probs.size(-1)), dim=-1)  # (B, T, C)
        log_probs, words = log_probs.cpu(), words.to("cpu", torch.int32)
        real = net_input["prev_output_tokens"].ne(self.padding).cpu()  # (B, T)
        for row, digest in enumerate(digests):
            if digest not in self.known:
                self.known[digest] = log_probs[row, real[row]], words[row, real[row]]
                self.unwritten[digest] = self.known[digest]

    def _write_unwritten(self, at_least: int) -> None:
        """Writes the unwritten sentences if there are `at_least` of them."""
        if len(self.unwritten) >= at_least:
            if self.folder is not None:
                self.folder.write(self.unwritten)
            self.unwritten.clear()

    def _digests(self, net_input: Dict[str, Any]) -> List[bytes]:
        """A digest of each pair's words without padding."""
        sides = [net_input[side].to("cpu", torch.int32).numpy() for side in ("src_tokens", "prev_output_tokens")]
        digests = []
        for pair in zip(*sides):
            source, prefix = (row[row != self.padding] for row in pair)
            # The length marks the border between source and prefix.
            text = len(source).to_bytes(4, "little") + source.tobytes() + prefix.tobytes()
            digests.append(blake2b(text, digest_size=TopKFolder.DIGEST).digest())
        return digests


def _write_rest(folder: "TopKFolder", unwritten: TopK) -> None:
    """Writes what is left when the cache or the process ends. No caller would catch an error then."""
    try:
        if unwritten:
            folder.write(unwritten)
    except UserError as error:
        logger.warning(error)


class TopKFolder:
    """The folder of a TeacherTopKCache.

    Args:
        folder: is made if it does not exist.
        teacher: the teacher; its checkpoints must be on disk.
        size: k, how many words to keep at each target word.

    Raises:
        UserError: if the folder belongs to another teacher or k, holds other files, or cannot be written.
    """

    PART = 2000  # sentences in a file
    DIGEST = 16  # bytes

    def __init__(self, folder: str, teacher: Teacher, size: int) -> None:
        self.folder, self.manifest_path = Path(folder), Path(folder) / "manifest.json"
        self.identity = {
            "version": VERSION,
            "the teacher's checkpoint": [sha256([Path(path)]) for path in teacher.paths],
            "--teacher-top-k": size,
            "--teacher-dtype": teacher.dtype,
        }
        text = json.dumps(self.identity, sort_keys=True).encode("utf-8")
        self.digest = numpy.frombuffer(hashlib.sha256(text).digest(), numpy.uint8)
        if not self.manifest_path.exists():
            self._begin()
        self._refuse_other()
        remove_abandoned(self.folder)

    def _begin(self) -> None:
        """Writes the manifest, unless another process has written one: those that start together may differ."""
        if any(other.name != "lock" and other.suffix != ".partial" for other in self.folder.glob("*")):
            if not self.manifest_path.exists():
                raise UserError(f"{self.folder} holds other files: give another --teacher-memory-folder")
        with self._errors(), alone(self.folder / "lock", waiting=lambda: None):
            if not self.manifest_path.exists():
                with atomic_write(self.manifest_path) as file:
                    file.write((json.dumps(self.identity, indent=1) + "\n").encode("utf-8"))

    def sentences(self) -> Iterator[Tuple[bytes, Tuple[Tensor, Tensor]]]:
        """All sentences. Raises UserError if a file is damaged."""
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with numpy.load(path, allow_pickle=False) as arrays:
                    if "made_from" in arrays and not numpy.array_equal(arrays["made_from"], self.digest):
                        raise ValueError("it was made by another teacher")
                    digests, lengths = arrays["names"], arrays["lengths"].tolist()
                    log_probs, words = (torch.from_numpy(arrays[name]) for name in ("log_probs", "words"))
                sentences = list(zip(digests, log_probs.split(lengths), words.split(lengths)))
            except DAMAGED_NPZ as error:
                raise UserError(
                    f"{path} with the teacher's top k words is damaged ({error}): remove this file; the next training "
                    "computes it again"
                ) from None
            for digest, *top_k in sentences:
                yield digest.tobytes(), (top_k[0], top_k[1])

    def write(self, sentences: TopK) -> None:
        """Adds sentences. Raises UserError if that fails."""
        arrays: Dict[str, Any] = {
            "names": numpy.frombuffer(b"".join(sentences), numpy.uint8).reshape(-1, self.DIGEST),
            "lengths": numpy.array([len(log_probs) for log_probs, _ in sentences.values()], numpy.int64),
            "log_probs": torch.cat([log_probs for log_probs, _ in sentences.values()]).numpy(),  # (sum of t, C)
            "words": torch.cat([words for _, words in sentences.values()]).numpy(),
        }
        with self._errors(), atomic_write(self.folder / f"{uuid.uuid4().hex}.npz") as file:
            numpy.savez(file, made_from=self.digest, **arrays)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"the teacher's top k words cannot be written to {self.folder} ({error.strerror or error}): make room "
                "or give another --teacher-memory-folder; the files already written are kept"
            ) from None

    def _refuse_other(self) -> None:
        path, identity = self.manifest_path, self.identity
        try:
            stored = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise UserError(
                f"{path} is damaged: remove the folder {self.folder}; the next training computes it again"
            ) from None
        for name in identity:
            if stored.get(name) != identity[name]:
                raise UserError(
                    f"{self.folder} holds the words of another teacher: {name} was {short(stored.get(name))}, is now "
                    f"{short(identity[name])}: give the same value, or another --teacher-memory-folder"
                )
