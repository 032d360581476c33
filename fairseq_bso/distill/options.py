"""The options of ``--task word_distillation`` and ``--task sequence_distillation``, and their checks."""

import math
from dataclasses import dataclass, field
from typing import Optional

from fairseq import utils
from fairseq.dataclass import ChoiceEnum
from omegaconf import II

from ..errors import UserError
from ..tasks import BsoTranslationConfig
from .selection import MODES
from .teacher import DTYPES

BEAMS = {"seq_kd": 5, "seq_inter": 35}
"""the beam of each ``--distill-mode`` in the paper (Kim & Rush 2016)"""


@dataclass
class WordDistillationConfig(BsoTranslationConfig):
    teacher_path: Optional[str] = field(
        default=None,
        metadata={"help": "the teacher's checkpoint; several, separated by colons, are an ensemble"},
    )
    teacher_data: Optional[str] = field(
        default=None,
        metadata={"help": "folder with the teacher's dictionaries, if they are not in the data folder of its training"},
    )
    teacher_dtype: ChoiceEnum(list(DTYPES)) = field(  # type: ignore[valid-type]
        default="auto",
        metadata={
            "help": "data type of the teacher; auto: float16 on a GPU, float32 on a CPU (bfloat16 is faster on CPUs "
            "that support it)"
        },
    )


@dataclass
class SequenceDistillationConfig(WordDistillationConfig):
    distill_cache: Optional[str] = field(
        default=None, metadata={"help": "folder for the distilled training set; written on first use, read later"}
    )
    distill_mode: ChoiceEnum(list(MODES)) = field(  # type: ignore[valid-type]
        default="seq_kd",
        metadata={
            "help": "seq_kd: the teacher's best hypothesis; seq_inter: the hypothesis of its beam with the highest "
            "sentence BLEU"
        },
    )
    distill_beam: int = field(
        default=0, metadata={"help": "beam size of the teacher; 0: 5 for seq_kd, 35 for seq_inter, as in the paper"}
    )
    distill_nbest: int = field(default=1, metadata={"help": "number of hypotheses per sentence to train on"})
    distill_keep_original: bool = field(default=False, metadata={"help": "also train on the original pairs"})
    distill_max_ratio: float = field(
        default=0.0,
        metadata={
            "help": "drop hypotheses that are longer or shorter than the source by more than this factor; 0: no limit"
        },
    )
    distill_max_len_a: float = field(
        default=1.5, metadata={"help": "A in the length limit of hypotheses, A times the source length plus B words"}
    )
    distill_max_len_b: int = field(
        default=10, metadata={"help": "B in the length limit of hypotheses, A times the source length plus B words"}
    )
    distill_lenpen: float = field(default=1.0, metadata={"help": "length penalty of the teacher's search"})
    distill_remove_bpe: Optional[str] = field(
        default=None,
        metadata={
            "help": "way of joining target symbols to words, for the BLEU of seq_inter (sentencepiece, subword_nmt "
            "...); default: the value of --eval-bleu-remove-bpe",
            "argparse_const": "@@ ",
        },
    )
    distill_max_tokens: int = field(
        default=20000, metadata={"help": "limit for source tokens times beam in a batch of the teacher's search"}
    )
    cpu: bool = II("common.cpu")


def beam_of(cfg: SequenceDistillationConfig) -> int:
    """The beam of the teacher's search."""
    return cfg.distill_beam or BEAMS[str(cfg.distill_mode)]


def check_options(cfg: SequenceDistillationConfig) -> None:
    """Raises UserError that names all options that do not fit."""
    problems = []
    if not cfg.distill_cache:
        problems.append("give --distill-cache FOLDER for the distilled training set")
    if not cfg.teacher_path:
        problems.append("give --teacher-path CHECKPOINT")
    beam = beam_of(cfg)
    if beam < 1:
        problems.append(f"--distill-beam is {cfg.distill_beam}, but must be at least 1 (0: the beam of the paper)")
    elif not 1 <= cfg.distill_nbest <= beam:
        problems.append(f"--distill-nbest is {cfg.distill_nbest}, but must be from 1 to the beam, {beam}")
    if cfg.distill_max_ratio != 0 and not cfg.distill_max_ratio >= 1:
        problems.append(f"--distill-max-ratio is {cfg.distill_max_ratio}, but must be 0 (no limit) or at least 1")
    if not (0 <= cfg.distill_max_len_a < math.inf and cfg.distill_max_len_b >= 1):
        problems.append(
            f"--distill-max-len-a is {cfg.distill_max_len_a} and --distill-max-len-b is {cfg.distill_max_len_b}, but "
            "they must be finite, and at least 0 and 1"
        )
    if not -10 <= cfg.distill_lenpen <= 10:
        problems.append(f"--distill-lenpen is {cfg.distill_lenpen}, but must be from -10 to 10")
    if cfg.distill_max_tokens < 1:
        problems.append(f"--distill-max-tokens is {cfg.distill_max_tokens}, but must be at least 1")
    if cfg.load_alignments:
        problems.append("leave out --load-alignments: distilled targets have no alignments")
    if len(utils.split_paths(cfg.data)) > 1:
        problems.append(f"give one data folder, not {cfg.data}")
    if problems:
        raise UserError("sequence_distillation: " + "; ".join(problems))
