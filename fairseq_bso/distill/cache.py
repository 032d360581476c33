"""The folder of distilled targets: what they are made from, their parts, and the indexed dataset that these become.

manifest.json      what the targets were made from and with; once all is done also what the files must hold
parts/00000.npz    the targets of some sentences; each appears whole or not at all, in any order, from any worker
train.S-T.S.bin    and so on, with the dictionaries: a folder that fairseq-train reads, when all parts are there
"""

import json
import os
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterable, List, Sequence, Tuple

import numpy
import torch
from fairseq.data import indexed_dataset

from ..errors import BadInput
from ..files import atomic_write, sha256

VERSION = 1

Targets = Tuple[int, List[List[int]]]
"""A sentence's place in the training set, and the word ids of its distilled targets."""


class Cache:
    """One folder.

    Args:
        folder: is made if it does not exist.
        made_from: what the targets depend on, each under the name that a message calls it by; values as JSON has them.
        made_in: how the work is cut into parts; may differ once all is done.
    """

    def __init__(self, folder: str, made_from: Dict[str, Any], made_in: Dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.identity = {"version": VERSION, "made_from": made_from, "made_in": made_in}
        self.manifest_path = self.folder / "manifest.json"
        self.parts_folder = self.folder / "parts"

    def complete(self) -> bool:
        """Whether all is there, and whole; begins the manifest where there is none.

        Raises:
            BadInput: the folder holds targets that were made otherwise, or is damaged, or cannot be written.
        """
        if not self.manifest_path.exists():
            self._begin()
            return False
        manifest = self._read_manifest()
        self._refuse_other(manifest)
        if "files" not in manifest:
            return False
        for name, right in manifest["files"].items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != right["bytes"] or sha256([path]) != right["sha256"]:
                raise BadInput(
                    f"the distilled data is damaged: {path} is missing or not as it was written: remove the folder "
                    f"{self.folder} and have it made again"
                )
        return True

    def facts(self) -> Dict[str, Any]:
        """What the manifest of a complete cache says of its size."""
        return self._read_manifest()["facts"]

    def has_part(self, number: int) -> bool:
        """Whether part `number` has been written."""
        return self._part(number).exists()

    def write_part(self, number: int, targets: Sequence[Targets]) -> None:
        """Writes the targets of some sentences. Raises BadInput where that fails."""
        kept = [words for _, several in targets for words in several]
        arrays = {
            "sentences": numpy.array([sentence for sentence, _ in targets], dtype=numpy.int64),
            "counts": numpy.array([len(several) for _, several in targets], dtype=numpy.int64),
            "lengths": numpy.array([len(words) for words in kept], dtype=numpy.int64),
            "words": numpy.array([word for words in kept for word in words], dtype=numpy.int32),
        }
        with self._writing():
            self.parts_folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._part(number)) as file:
                numpy.savez(file, **arrays)

    def read_part(self, number: int) -> List[Targets]:
        """What `write_part` wrote. Raises BadInput where it is damaged."""
        path = self._part(number)
        try:
            with numpy.load(path, allow_pickle=False) as arrays:
                counts, lengths = arrays["counts"].tolist(), arrays["lengths"].tolist()
                sentences, words = arrays["sentences"].tolist(), arrays["words"].tolist()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as fault:
            raise BadInput(
                f"the part {path} of the distilled data is damaged ({fault}): remove this file, and it is made again"
            ) from None
        ends = numpy.cumsum(lengths).tolist()
        each = iter([words[end - length : end] for end, length in zip(ends, lengths)])
        return [(sentence, [next(each) for _ in range(count)]) for sentence, count in zip(sentences, counts)]

    def finish(self, parts: int, gold, prefix: str, dictionaries: Dict[str, Any], facts: Dict[str, Any]) -> None:
        """Turns all parts into an indexed dataset, in the order of the training set, and removes them.

        Args:
            parts: how many there are.
            gold: the training set, a LanguagePairDataset.
            prefix: of the files, such as `train.de-en`.
            dictionaries: language -> dictionary, source first.
            facts: further sizes for the manifest.

        Raises:
            BadInput: a damaged part, no pair at all, or a file that cannot be written.
        """
        targets: Dict[int, List[List[int]]] = {}
        for number in range(parts):
            targets.update(self.read_part(number))
        pairs = [(sentence, words) for sentence in sorted(targets) for words in targets[sentence]]
        if not pairs:
            raise BadInput(
                "no distilled pair is left: every hypothesis of the teacher was dropped, see --distill-max-ratio"
            )
        (source, source_dictionary), (target, target_dictionary) = dictionaries.items()
        names = [f"{prefix}.{language}.{kind}" for language in (source, target) for kind in ("bin", "idx")]
        with self._writing():
            self._write_side(f"{prefix}.{source}", source_dictionary, (gold.src[place] for place, _ in pairs))
            self._write_side(f"{prefix}.{target}", target_dictionary, (torch.tensor(words) for _, words in pairs))
            for language, dictionary in dictionaries.items():
                names.append(f"dict.{language}.txt")
                dictionary.save(str(self.folder / names[-1]))
        without = sum(not several for several in targets.values())
        facts = {"pairs": len(pairs), "sentences": len(targets), "sentences without a pair": without, **facts}
        files = {
            name: {"bytes": (self.folder / name).stat().st_size, "sha256": sha256([self.folder / name])}
            for name in names
        }
        self._write_manifest({**self.identity, "facts": facts, "files": files})
        shutil.rmtree(self.parts_folder, ignore_errors=True)

    def _write_side(self, name: str, dictionary, sentences: Iterable[torch.Tensor]) -> None:
        path = str(self.folder / name)
        builder = indexed_dataset.make_builder(path + ".bin.partial", impl="mmap", vocab_size=len(dictionary))
        for sentence in sentences:
            builder.add_item(sentence)
        builder.finalize(path + ".idx.partial")
        for kind in ("bin", "idx"):
            os.replace(f"{path}.{kind}.partial", f"{path}.{kind}")

    def _begin(self) -> None:
        if any(self.folder.glob("*.bin")) or any(self.folder.glob("*.idx")):
            raise BadInput(
                f"{self.folder} holds a data set that was not distilled: give --distill-cache a folder of its own"
            )
        self._write_manifest(self.identity)

    def _write_manifest(self, manifest: Dict[str, Any]) -> None:
        text = json.dumps(manifest, indent=1) + "\n"
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.manifest_path) as file:
                file.write(text.encode("utf-8"))

    def _read_manifest(self) -> Dict[str, Any]:
        try:
            manifest = json.loads(self.manifest_path.read_text(encoding="utf-8"))
            return {"version": manifest["version"], **manifest}
        except (OSError, ValueError, KeyError, TypeError):
            raise BadInput(
                f"{self.manifest_path} is damaged: remove the folder {self.folder} and have it made again"
            ) from None

    def _refuse_other(self, manifest: Dict[str, Any]) -> None:
        """Raises BadInput if the targets were made otherwise; of finished ones `made_in` does not matter."""
        if manifest["version"] != VERSION:
            raise BadInput(f"{self.folder} was made by another version of fairseq_bso: give another --distill-cache")
        differences = []
        for group in ("made_from",) if "files" in manifest else ("made_from", "made_in"):
            then, now = manifest.get(group, {}), json.loads(json.dumps(self.identity[group]))
            for name in sorted({*then, *now}):
                if then.get(name) != now.get(name):
                    differences.append(f"{name} was {_short(then.get(name))}, is now {_short(now.get(name))}")
        if differences:
            raise BadInput(
                f"the distilled data in {self.folder} was made otherwise: {'; '.join(differences)}: give the same as "
                "then, or another --distill-cache"
            )

    def _part(self, number: int) -> Path:
        return self.parts_folder / f"{number:05}.npz"

    @contextmanager
    def _writing(self):
        try:
            yield
        except OSError as fault:
            raise BadInput(
                f"the distilled data cannot be written to {self.folder} ({fault.strerror or fault}): make room or give "
                "another --distill-cache; what is finished there is kept"
            ) from None


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] + "..." if len(text) == 64 else text
