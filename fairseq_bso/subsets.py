"""The subsets of a data folder of fairseq-preprocess: one message where fairseq ends with a traceback."""

import os
from pathlib import Path
from typing import Any, Dict, List, Optional

from fairseq import utils
from torch import Tensor

from .errors import UserError

__all__ = ["check_subset", "is_raw", "refuse_empty", "refuse_one_sided", "target_of"]


def check_subset(data: str, subset: str, source: Optional[str], target: Optional[str]) -> None:
    """Checks that a data folder, or the first of several, has a subset of a language pair, with sentences.

    Raises:
        UserError: the folder does not exist, has no such subset, or a side of the subset is empty.
    """
    folder = utils.split_paths(data)[0]
    if "://" in folder:
        return
    if not os.path.isdir(folder):
        raise UserError(f"the data folder {folder} does not exist: give the folder that fairseq-preprocess wrote")
    names = _names(subset, source, target)
    sources = [name for name in names if name.endswith(f".{source}")]
    if not any((Path(folder) / f"{name}{ending}").is_file() for name in sources for ending in (".idx", "")):
        there = sorted({path.name.split(".")[0] for path in Path(folder).iterdir() if _is_side(path, source)})
        raise UserError(
            f"the data folder {folder} has no subset {subset} of {source}-{target}: there are "
            f"{', '.join(there) or 'none'}; correct its name, or prepare it with fairseq-preprocess"
        )
    for each in utils.split_paths(data):
        refuse_empty(each, names, subset)


def refuse_empty(folder: str, names: List[str], subset: str) -> None:
    """Raises UserError if one of the files of a subset holds no sentence."""
    for name in names:
        for path in (Path(folder) / name, Path(folder) / f"{name}.bin"):  # --dataset-impl raw, and the others
            if path.is_file() and path.stat().st_size == 0:
                raise UserError(f"the subset {subset} in {folder} is empty: {path.name} holds no sentence")


def is_raw(folder: str, subset: str, source: Optional[str], target: Optional[str]) -> bool:
    """Whether a subset is text of --dataset-impl raw."""
    paths = [Path(folder) / name for name in _names(subset, source, target)]
    return any(path.is_file() for path in paths) and not any(Path(f"{path}.idx").is_file() for path in paths)


def _is_side(path: Path, language: Optional[str]) -> bool:
    """Whether a file is one side of a subset: train.src-tgt.src as text, or with the ending .idx."""
    parts = path.name[: -len(".idx")].split(".") if path.suffix == ".idx" else path.name.split(".")
    return len(parts) == 3 and parts[2] == language


def _names(subset: str, source: Optional[str], target: Optional[str]) -> List[str]:
    """The files of a subset without their endings. fairseq-preprocess may have run in the other direction."""
    pairs = ((source, target), (target, source))
    return [f"{subset}.{one}-{other}.{language}" for one, other in pairs for language in (source, target)]


def refuse_one_sided(dataset: Any, subset: str, data: str, target: Optional[str]) -> None:
    """Raises UserError for a subset without target sentences."""
    if getattr(dataset, "tgt", None) is None:
        raise UserError(
            f"the subset {subset} in {data} has no {target} side, from which to learn: prepare both languages, without "
            "fairseq-preprocess --only-source"
        )


def target_of(sample: Dict[str, Any], criterion: str) -> Tensor:
    """The target (B, T) of a batch. Raises UserError if the data has none."""
    target = sample.get("target")
    if target is None:
        raise UserError(f"{criterion} needs target sentences, but the data has none: give both languages")
    return target
