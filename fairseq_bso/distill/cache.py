"""The folder of distilled targets: their inputs and options, their parts, and the indexed dataset made of all parts.

manifest.json          inputs and options of the targets; in a complete cache also the sizes and checksums of its files
parts/00000.DIGEST.npz the targets of some sentences, and a digest of what they were made from; any worker writes any
                       part, atomically
train.S-T.S.bin        and so on, with the dictionaries: in a complete cache, a data folder for fairseq-train
lock                   while a process makes the cache: another one waits for it
"""

import hashlib
import json
import logging
import shutil
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Sequence, Tuple

import numpy
import torch
from fairseq.data import indexed_dataset

from ..errors import UserError, short
from ..files import DAMAGED_NPZ, atomic_path, atomic_write, remove_abandoned, sha256
from ..locks import InUse, alone

logger = logging.getLogger(__name__)

VERSION = 1
BATCHES_IN_A_PART = 4  # of the teacher's search
NAMED = 5  # differences that a message names

Targets = Tuple[int, List[List[int]]]
"""The index of a sentence in the training set, and the word ids of its distilled targets."""


class Cache:
    """One folder.

    Args:
        folder: is made if it does not exist.
        made_from: the inputs and options that the targets depend on, as JSON values. Messages show the keys.
        made_in: the options that the parts depend on. A complete cache may be read with others.
    """

    def __init__(self, folder: str, made_from: Dict[str, Any], made_in: Dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.identity = {"version": VERSION, "made_from": made_from, "made_in": made_in}
        self.digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode("utf-8")).hexdigest()[:16]
        self.manifest_path = self.folder / "manifest.json"
        self.parts_folder, self.lock = self.folder / "parts", self.folder / "lock"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other process makes the cache, and keeps others from it.

        Raises:
            UserError: the folder cannot be written.
        """
        with ExitStack() as held:
            with self._writing():
                held.enter_context(alone(self.lock, self._say_that_it_waits))
            yield

    def _say_that_it_waits(self) -> None:
        logger.info(f"another process makes the distilled data in {self.folder} now: waiting for it")

    def _remove_remains(self) -> None:
        """Removes the leftovers of a killed process in a complete cache: joined parts, unfinished files, its lock."""
        shutil.rmtree(self.parts_folder, ignore_errors=True)
        remove_abandoned(self.folder)
        if self.lock.exists():
            with suppress(InUse, OSError), alone(self.lock):
                pass

    def complete(self) -> bool:
        """Whether the cache is complete and undamaged.

        Raises:
            UserError: if the targets were made with other inputs or options, or the folder is damaged.
        """
        if not self.manifest_path.exists():
            if any(self.folder.glob("*.bin")) or any(self.folder.glob("*.idx")):
                raise UserError(f"{self.folder} holds a data set that was not distilled: give another --distill-cache")
            return False
        manifest = self._read_manifest()
        self._refuse_other(manifest)
        if "files" not in manifest:
            return False
        for name, facts in manifest["files"].items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != facts["bytes"] or sha256([path]) != facts["sha256"]:
                raise UserError(
                    f"the distilled data is damaged: {path} is missing or was changed; remove the folder {self.folder} "
                    "and distil again"
                )
        self._remove_remains()
        return True

    def facts(self) -> Dict[str, Any]:
        """The numbers of pairs and sentences in a complete cache, from its manifest."""
        return self._read_manifest()["facts"]

    def has_part(self, number: int) -> bool:
        """Whether part `number` has been written."""
        return self._part(number).exists()

    def write_part(self, number: int, targets: Sequence[Targets]) -> None:
        """Writes the targets of some sentences, the first time also the manifest. Raises UserError if that fails."""
        kept = [words for _, nbest in targets for words in nbest]
        arrays: Dict[str, Any] = {
            "sentences": numpy.array([sentence for sentence, _ in targets], dtype=numpy.int64),
            "counts": numpy.array([len(nbest) for _, nbest in targets], dtype=numpy.int64),
            "lengths": numpy.array([len(words) for words in kept], dtype=numpy.int64),
            "words": numpy.array([word for words in kept for word in words], dtype=numpy.int32),
        }
        with self._writing():
            self.parts_folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._part(number)) as file:
                numpy.savez(file, **arrays)
        if not self.manifest_path.exists():
            self._write_manifest(self.identity)

    def read_part(self, number: int) -> List[Targets]:
        """The targets that `write_part` wrote. Raises UserError if they are damaged."""
        path = self._part(number)
        try:
            with numpy.load(path, allow_pickle=False) as arrays:
                counts, lengths = arrays["counts"].tolist(), arrays["lengths"].tolist()
                sentences, words = arrays["sentences"].tolist(), arrays["words"].tolist()
        except DAMAGED_NPZ as error:
            raise UserError(
                f"the part {path} of the distilled data is damaged ({error}): remove this file and distil again"
            ) from None
        ends = numpy.cumsum(lengths).tolist()
        each = iter([words[end - length : end] for end, length in zip(ends, lengths)])
        return [(sentence, [next(each) for _ in range(count)]) for sentence, count in zip(sentences, counts)]

    def finish(self, parts: int, gold: Any, prefix: str, dictionaries: Dict[str, Any], facts: Dict[str, Any]) -> None:
        """Writes all parts as one indexed dataset, in the order of the training set, and removes them.

        Args:
            parts: how many parts there are.
            gold: the training set, a LanguagePairDataset.
            prefix: of the files, such as `train.de-en`.
            dictionaries: language -> dictionary, source first.
            facts: further numbers for the manifest.

        Raises:
            UserError: if a part is damaged, no pair is left, or a file cannot be written.
        """
        targets: Dict[int, List[List[int]]] = {}
        for number in range(parts):
            targets.update(self.read_part(number))
        pairs = [(sentence, words) for sentence in sorted(targets) for words in targets[sentence]]
        if not pairs:
            raise UserError(
                "no distilled pair is left, because every hypothesis of the teacher was dropped: give a larger "
                "--distill-max-ratio, or 0 for no limit, and another --distill-cache"
            )
        if not self.manifest_path.exists():
            self._write_manifest(self.identity)
        sides = ((gold.src[index] for index, _ in pairs), (torch.tensor(words) for _, words in pairs))
        with self._writing():
            names = self._write_data_set(prefix, dictionaries, sides)
        without = sum(not nbest for nbest in targets.values())
        facts = {"pairs": len(pairs), "sentences": len(targets), "sentences without a pair": without, **facts}
        files = {
            name: {"bytes": (self.folder / name).stat().st_size, "sha256": sha256([self.folder / name])}
            for name in names
        }
        self._write_manifest({**self.identity, "facts": facts, "files": files})
        shutil.rmtree(self.parts_folder, ignore_errors=True)

    def _write_data_set(self, prefix: str, dictionaries: Dict[str, Any], sides: Iterable[Any]) -> List[str]:
        """Writes the sentences of both sides and the dictionaries, source first. Returns the names of the files."""
        names = []
        for (language, dictionary), sentences in zip(dictionaries.items(), sides):
            self._write_side(f"{prefix}.{language}", dictionary, sentences)
            names += [f"{prefix}.{language}.{kind}" for kind in ("bin", "idx")]
        for language, dictionary in dictionaries.items():
            names.append(f"dict.{language}.txt")
            dictionary.save(str(self.folder / names[-1]))
        return names

    def _write_side(self, name: str, dictionary: Any, sentences: Iterable[torch.Tensor]) -> None:
        with atomic_path(self.folder / f"{name}.bin") as data, atomic_path(self.folder / f"{name}.idx") as index:
            builder = indexed_dataset.make_builder(str(data), impl="mmap", vocab_size=len(dictionary))
            for sentence in sentences:
                builder.add_item(sentence)
            builder.finalize(str(index))

    def _write_manifest(self, manifest: Dict[str, Any]) -> None:
        text = json.dumps(manifest, indent=1) + "\n"
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.manifest_path) as file:
                file.write(text.encode("utf-8"))

    def _read_manifest(self) -> Dict[str, Any]:
        try:
            manifest = json.loads(self.manifest_path.read_text(encoding="utf-8"))
            _check_manifest(manifest)
            return manifest
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError(
                f"{self.manifest_path} is damaged: remove the folder {self.folder} and distil again"
            ) from None

    def _refuse_other(self, manifest: Dict[str, Any]) -> None:
        """Raises UserError if the targets were made with other inputs or options. Only parts depend on `made_in`."""
        if manifest["version"] != VERSION:
            raise UserError(f"{self.folder} was made by another version of fairseq_bso: give another --distill-cache")
        differences = []
        for group in ("made_from",) if "files" in manifest else ("made_from", "made_in"):
            stored, now = manifest.get(group, {}), json.loads(json.dumps(self.identity[group]))
            for name in sorted({*stored, *now}):
                if stored.get(name) != now.get(name):
                    differences.append(f"{short(name)} was {short(stored.get(name))}, is now {short(now.get(name))}")
        if differences:
            named, more = differences[:NAMED], len(differences) - NAMED
            named += [f"{more} more"] if more > 0 else []
            raise UserError(
                f"the distilled data in {self.folder} was made with other options or data: {'; '.join(named)}: give "
                "the same options and data, or another --distill-cache"
            )

    def _part(self, number: int) -> Path:
        """The path of a part. A part that was made with other inputs or options has another name."""
        return self.parts_folder / f"{number:05}.{self.digest}.npz"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"the distilled data cannot be written to {self.folder} ({error.strerror or error}): make room or give "
                "another --distill-cache; the parts already written are kept"
            ) from None


def _check_manifest(manifest: Dict[str, Any]) -> None:
    """Raises ValueError, KeyError, TypeError or AttributeError if the content of a manifest has the wrong form."""
    found = [manifest["version"], *map(dict, (manifest.get("made_from", {}), manifest.get("made_in", {})))]
    for facts in manifest.get("files", {}).values():
        found += [facts["bytes"] + 0, facts["sha256"] + ""]
    if "files" in manifest:
        found += [int(count) for count in manifest["facts"].values()]
