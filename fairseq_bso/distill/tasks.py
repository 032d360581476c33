"""``--task word_distillation`` and ``--task sequence_distillation`` (Kim & Rush 2016): translation with a teacher, and
with the teacher's output as the training set."""

import logging
import os
import re
from argparse import Namespace
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from fairseq import utils
from fairseq.data import ConcatDataset, LanguagePairDataset
from fairseq.dataclass import ChoiceEnum
from fairseq.tasks import register_task
from fairseq.tasks.translation import load_langpair_dataset
from omegaconf import II

from ..decoding.unnormalized import common_prefix_score, unused_length_penalty
from ..errors import BadInput
from ..files import sha256
from ..tasks import BsoTranslationConfig, BsoTranslationTask
from .cache import Cache
from .job import Decoder, DistillationJob, Shard
from .selection import MODES, Chooser
from .teacher import DTYPES, Teacher, dtype_on, load_teacher

logger = logging.getLogger(__name__)

BEAMS = {"seq_kd": 5, "seq_inter": 35}  # of the paper


@dataclass
class WordDistillationConfig(BsoTranslationConfig):
    teacher_path: Optional[str] = field(
        default=None,
        metadata={"help": "the teacher's checkpoint; several, separated by colons, are an ensemble"},
    )
    teacher_data: Optional[str] = field(
        default=None,
        metadata={"help": "folder with the teacher's dictionaries, if not where it was trained any more"},
    )
    teacher_dtype: ChoiceEnum(list(DTYPES)) = field(  # type: ignore[valid-type]
        default="auto",
        metadata={
            "help": "type of the teacher's numbers; auto: float16 on a GPU, float32 on a CPU (bfloat16 is quicker on "
            "CPUs that compute in it)"
        },
    )


@register_task("word_distillation", dataclass=WordDistillationConfig)
class WordDistillationTask(BsoTranslationTask):
    """Loads the teacher when it is first asked for: decoding with a student needs none."""

    cfg: WordDistillationConfig
    _teacher: Optional[Teacher] = None

    @property
    def teacher(self) -> Teacher:
        """The frozen teacher. Raises BadInput where there is none that fits."""
        if self._teacher is None:
            given = self.cfg
            self._teacher = load_teacher(given.teacher_path, given.teacher_data, self, str(given.teacher_dtype))
        return self._teacher

    def max_positions(self):
        """Of the task, and of its teacher once that is loaded."""
        own = super().max_positions()
        return own if self._teacher is None else utils.resolve_max_positions(own, self._teacher.max_positions())

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """Loads a split; raises BadInput if it is that for training, and empty."""
        if split == self.cfg.train_subset:
            self._refuse_empty(split)
        super().load_dataset(split, epoch, combine, **kwargs)

    def _refuse_empty(self, split: str) -> None:
        for folder in utils.split_paths(self.cfg.data):
            for pair in (self.cfg.source_lang, self.cfg.target_lang), (self.cfg.target_lang, self.cfg.source_lang):
                for language in pair:
                    path = os.path.join(folder, f"{split}.{pair[0]}-{pair[1]}.{language}")
                    for file in (path, path + ".bin"):  # of --dataset-impl raw, of all others
                        if os.path.isfile(file) and os.path.getsize(file) == 0:
                            raise BadInput(f"the training set is empty: {file} holds no sentence")


@dataclass
class SequenceDistillationConfig(WordDistillationConfig):
    distill_cache: Optional[str] = field(
        default=None, metadata={"help": "folder for the distilled training set; made on first use, then read again"}
    )
    distill_mode: ChoiceEnum(list(MODES)) = field(  # type: ignore[valid-type]
        default="seq_kd",
        metadata={
            "help": "seq_kd: the teacher's best hypothesis; seq_inter: that of its beam closest to the reference"
        },
    )
    distill_beam: int = field(
        default=0, metadata={"help": "beam of the teacher; 0: 5 for seq_kd, 35 for seq_inter, as in the paper"}
    )
    distill_nbest: int = field(default=1, metadata={"help": "how many hypotheses of a sentence to train on"})
    distill_keep_original: bool = field(default=False, metadata={"help": "train on the original pairs too"})
    distill_max_ratio: float = field(
        default=0.0,
        metadata={
            "help": "drop hypotheses that are longer or shorter than the source by more than this factor; 0: none"
        },
    )
    distill_max_len_a: float = field(
        default=1.5, metadata={"help": "hypotheses end at A times the source length plus B: A"}
    )
    distill_max_len_b: int = field(
        default=10, metadata={"help": "hypotheses end at A times the source length plus B: B"}
    )
    distill_lenpen: float = field(default=1.0, metadata={"help": "length penalty of the teacher's search"})
    distill_remove_bpe: Optional[str] = field(
        default=None,
        metadata={
            "help": "how target symbols are joined to words for seq_inter's BLEU (sentencepiece, subword_nmt ...); "
            "left out: as --eval-bleu-remove-bpe says",
            "argparse_const": "@@ ",
        },
    )
    distill_max_tokens: int = field(
        default=20000, metadata={"help": "source tokens times beam in a batch of the teacher's search"}
    )
    cpu: bool = II("common.cpu")


@register_task("sequence_distillation", dataclass=SequenceDistillationConfig)
class SequenceDistillationTask(WordDistillationTask):
    """Has the teacher decode the training set once, into a cache, and trains on that with any criterion."""

    cfg: SequenceDistillationConfig

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """Loads a split; that for training out of the cache, which is made if it is not there.

        Raises:
            BadInput: options that do not fit, a training set that is empty, no teacher, a cache that is damaged, was
                made otherwise, or cannot be written.
        """
        if split != self.cfg.train_subset:
            super().load_dataset(split, epoch, combine, **kwargs)
            return
        gold = self.load_gold(combine)
        if not self.is_distilled():
            self.job(gold).run(Shard.here())
        distilled = self._load(self.cfg.distill_cache, split, combine=False)
        facts = ", ".join(f"{count:,} {name}" for name, count in self.cache.facts().items())
        logger.info(f"training on the distilled pairs in {self.cfg.distill_cache}: {facts}")
        self.datasets[split] = self._together(distilled, gold) if self.cfg.distill_keep_original else distilled

    def load_original_dataset(self, split: str) -> None:
        """Loads the text itself, not what the teacher made of it."""
        if split == self.cfg.train_subset:
            self.load_gold(combine=False)
        else:
            self.load_dataset(split)

    def load_gold(self, combine: bool = True) -> LanguagePairDataset:
        """The original training set. Raises BadInput if it is empty or the options do not fit."""
        check_options(self.cfg)
        split = self.cfg.train_subset
        super().load_dataset(split, 1, combine)
        if self.datasets[split].tgt is None:
            raise BadInput(f"the training set in {self.cfg.data} has no {self.cfg.target_lang} side")
        return self.datasets[split]

    def job(self, gold: LanguagePairDataset) -> DistillationJob:
        """What makes the cache out of a training set."""
        languages = (self.cfg.source_lang, self.cfg.target_lang)
        return DistillationJob(
            cache=self.cache,
            gold=gold,
            longest_source=min(self.cfg.max_source_positions, self.teacher.max_positions()[0]),
            max_tokens=max(1, self.cfg.distill_max_tokens // self._beam()),
            make_decoder=lambda: self._decoder(gold),
            release_teacher=lambda: self.teacher.place(torch.device("cpu")),
            prefix="{}.{}-{}".format(self.cfg.train_subset, *languages),
            dictionaries=dict(zip(languages, (self.source_dictionary, self.target_dictionary))),
        )

    def is_distilled(self) -> bool:
        """Whether the cache is complete. A new one is begun, unless the teacher or its options are refused."""
        if not self.cache.manifest_path.exists():
            score = common_prefix_score(self.teacher.models)
            fault = unused_length_penalty(score, self.cfg.distill_lenpen, "--distill-lenpen")
            if fault:
                raise BadInput(fault)
        return self.cache.complete()

    @cached_property
    def cache(self) -> Cache:
        """The folder and what it must have been made from."""
        return self._describe_cache()

    def _describe_cache(self) -> Cache:
        cfg = self.cfg
        made_from: Dict[str, Any] = {
            "the teacher's checkpoint": [sha256([Path(path)]) for path in utils.split_paths(cfg.teacher_path)],
            "the training data": sha256(self._training_files()),
            "--distill-mode": str(cfg.distill_mode),
            "--distill-beam": self._beam(),
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
        if str(cfg.distill_mode) == "seq_inter":
            made_from["--distill-remove-bpe"] = self._remove_bpe()
        precision = str(dtype_on(self._device(), str(cfg.teacher_dtype)))
        made_in = {"--distill-max-tokens": cfg.distill_max_tokens, "--teacher-dtype": precision}
        return Cache(cfg.distill_cache, made_from, made_in)

    def _decoder(self, gold: LanguagePairDataset) -> Decoder:
        device = self._device()
        models = self.teacher.place(device)
        longest = {"max_len_a": self.cfg.distill_max_len_a, "max_len_b": self.cfg.distill_max_len_b}
        options = Namespace(beam=self._beam(), lenpen=self.cfg.distill_lenpen, **longest)
        generator = self.build_generator(models, options)
        chooser = Chooser(
            str(self.cfg.distill_mode),
            self.cfg.distill_nbest,
            self.cfg.distill_max_ratio,
            self.target_dictionary,
            self._remove_bpe(),
        )
        return Decoder(models, generator, gold, chooser, device)

    def _beam(self) -> int:
        return self.cfg.distill_beam or BEAMS[str(self.cfg.distill_mode)]

    def _remove_bpe(self) -> Optional[str]:
        return self.cfg.distill_remove_bpe or self.cfg.eval_bleu_remove_bpe

    def _device(self) -> torch.device:
        use_gpu = torch.cuda.is_available() and not self.cfg.cpu
        return torch.device("cuda", torch.cuda.current_device()) if use_gpu else torch.device("cpu")

    def _training_files(self) -> List[Path]:
        """The files of the training set and the dictionaries, in a fixed order."""
        folder, pair = Path(self.cfg.data), (self.cfg.source_lang, self.cfg.target_lang)
        both = "|".join(re.escape("-".join(order)) for order in (pair, pair[::-1]))
        name = re.compile(
            rf"{re.escape(self.cfg.train_subset)}\d*\.({both})\.({'|'.join(map(re.escape, pair))})(\.\w+)?"
        )
        found = [path for path in folder.iterdir() if name.fullmatch(path.name)]
        return sorted(found) + [folder / f"dict.{language}.txt" for language in pair]

    def _load(self, folder: str, split: str, combine: bool) -> LanguagePairDataset:
        """The distilled pairs, as fairseq loads any."""
        cfg = self.cfg
        return load_langpair_dataset(
            folder,
            split,
            cfg.source_lang,
            self.src_dict,
            cfg.target_lang,
            self.tgt_dict,
            combine=combine,
            dataset_impl="mmap",
            upsample_primary=-1,
            left_pad_source=cfg.left_pad_source,
            left_pad_target=cfg.left_pad_target,
            max_source_positions=cfg.max_source_positions,
            max_target_positions=cfg.max_target_positions,
            num_buckets=cfg.num_batch_buckets,
            shuffle=True,
            pad_to_multiple=cfg.required_seq_len_multiple,
        )

    def _together(self, distilled: LanguagePairDataset, gold: LanguagePairDataset) -> LanguagePairDataset:
        """Both sets of pairs as one."""
        source, target = ConcatDataset([distilled.src, gold.src]), ConcatDataset([distilled.tgt, gold.tgt])
        return LanguagePairDataset(
            source,
            source.sizes,
            self.src_dict,
            target,
            target.sizes,
            self.tgt_dict,
            left_pad_source=self.cfg.left_pad_source,
            left_pad_target=self.cfg.left_pad_target,
            num_buckets=self.cfg.num_batch_buckets,
            shuffle=True,
            pad_to_multiple=self.cfg.required_seq_len_multiple,
        )


def check_options(cfg: SequenceDistillationConfig) -> None:
    """Raises BadInput naming all options that do not fit."""
    faults = []
    if not cfg.distill_cache:
        faults.append("give --distill-cache FOLDER, where the distilled training set is kept")
    if not cfg.teacher_path:
        faults.append("give --teacher-path CHECKPOINT")
    beam = cfg.distill_beam or BEAMS[str(cfg.distill_mode)]
    if beam < 1:
        faults.append(f"--distill-beam is {cfg.distill_beam}, but must be at least 1 (0: that of the paper)")
    elif not 1 <= cfg.distill_nbest <= beam:
        faults.append(f"--distill-nbest is {cfg.distill_nbest}, but must be from 1 to the beam, {beam}")
    if cfg.distill_max_ratio != 0 and not cfg.distill_max_ratio >= 1:
        faults.append(f"--distill-max-ratio is {cfg.distill_max_ratio}, but must be 0 (none is dropped) or at least 1")
    if not (cfg.distill_max_len_a >= 0 and cfg.distill_max_len_b >= 1):
        faults.append(
            f"--distill-max-len-a is {cfg.distill_max_len_a} and --distill-max-len-b is {cfg.distill_max_len_b}, but "
            "they must be at least 0 and 1"
        )
    if cfg.distill_max_tokens < 1:
        faults.append(f"--distill-max-tokens is {cfg.distill_max_tokens}, but must be at least 1")
    if cfg.load_alignments:
        faults.append("leave out --load-alignments: distilled targets have none")
    if len(utils.split_paths(cfg.data)) > 1:
        faults.append(f"give one data folder, not {cfg.data}")
    if faults:
        raise BadInput("sequence_distillation: " + "; ".join(faults))
