"""What distilled targets depend on: the inputs and options that identify a cache, so that no other run reads it."""

import re
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from fairseq import utils

from ..files import sha256
from ..shortlist.files import MISSING, path_in
from .cache import BATCHES_IN_A_PART, Cache


def cache_of(cfg: Any, beam: int, remove_bpe: Optional[str], dtype: torch.dtype) -> Cache:
    """The cache that a SequenceDistillationConfig names, with the inputs and options that its targets depend on.

    Args:
        cfg: the config.
        beam: of the teacher's search.
        remove_bpe: how symbols are joined to words for BLEU.
        dtype: of the teacher's parameters.
    """
    made_from: Dict[str, Any] = {
        "the teacher's checkpoint": [
            sha256([Path(path)], "correct --teacher-path") for path in utils.split_paths(cfg.teacher_path)
        ],
        "the training data": sha256(_training_files(cfg)),
        "--distill-mode": str(cfg.distill_mode),
        "--distill-beam": beam,
        "--distill-nbest": cfg.distill_nbest,
        "--distill-max-ratio": cfg.distill_max_ratio,
        "--distill-max-len-a": cfg.distill_max_len_a,
        "--distill-max-len-b": cfg.distill_max_len_b,
        "--distill-lenpen": cfg.distill_lenpen,
        "--source-lang": cfg.source_lang,
        "--target-lang": cfg.target_lang,
        "--successors": cfg.successors,
        "--truncate-source": bool(cfg.truncate_source),
        "--max-source-positions": cfg.max_source_positions,
        "--upsample-primary": cfg.upsample_primary,
    }
    if cfg.successors == "shortlist":
        path = Path(cfg.shortlist or path_in(cfg.data, cfg.source_lang, cfg.target_lang))
        made_from["--shortlist"] = sha256([path], MISSING)
    if str(cfg.distill_mode) == "seq_inter":
        made_from["--distill-remove-bpe"] = remove_bpe
    made_in = {
        "--distill-max-tokens": cfg.distill_max_tokens,
        "--teacher-dtype": str(dtype),
        "batches in a part": BATCHES_IN_A_PART,
    }
    return Cache(cfg.distill_cache, made_from, made_in)


def _training_files(cfg: Any) -> List[Path]:
    """The files of the training set and the dictionaries, in a fixed order."""
    folder, pair = Path(cfg.data), (cfg.source_lang, cfg.target_lang)
    both = "|".join(re.escape("-".join(order)) for order in (pair, pair[::-1]))
    name = re.compile(rf"{re.escape(cfg.train_subset)}\d*\.({both})\.({'|'.join(map(re.escape, pair))})(\.\w+)?")
    files = [path for path in folder.iterdir() if name.fullmatch(path.name)]
    return sorted(files) + [folder / f"dict.{language}.txt" for language in pair]
