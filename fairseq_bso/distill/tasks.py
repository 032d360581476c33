"""The tasks ``word_distillation`` and ``sequence_distillation``: learning from a teacher's words or from its output."""

import logging
from argparse import Namespace
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Optional, Tuple

import torch
from fairseq import utils
from fairseq.data import ConcatDataset, LanguagePairDataset
from fairseq.tasks import register_task
from fairseq.tasks.translation import load_langpair_dataset

from ..decoding.unnormalized import common_prefix_score, unused_length_penalty
from ..errors import UserError
from ..subsets import refuse_one_sided
from ..tasks import BsoTranslationTask
from .cache import Cache
from .cache_identity import cache_of
from .job import DistillationJob, Shard, TeacherDecoder
from .options import SequenceDistillationConfig, WordDistillationConfig, beam_of, check_options
from .selection import HypothesisSelector
from .teacher import Teacher, dtype_on, load_teacher

logger = logging.getLogger(__name__)


@register_task("word_distillation", dataclass=WordDistillationConfig)
class WordDistillationTask(BsoTranslationTask):
    """Translation with a teacher, which is loaded on first use: decoding with a student needs none."""

    cfg: WordDistillationConfig
    _teacher: Optional[Teacher] = None
    teaches_words_alone = True  # whether nothing but a criterion asks the teacher
    trains_anew = False  # whether the model is not one of a checkpoint

    @property
    def teacher(self) -> Teacher:
        """The frozen teacher. Raises UserError if there is none, or it does not fit the student."""
        if self._teacher is None:
            cfg = self.cfg
            self._teacher = load_teacher(cfg.teacher_path, cfg.teacher_data, self, str(cfg.teacher_dtype))
        return self._teacher

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> Any:
        """fairseq's model."""
        self.trains_anew = not from_checkpoint
        return super().build_model(cfg, from_checkpoint)

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """fairseq's criterion. Raises UserError if a training names a teacher that its criterion does not ask."""
        criterion = super().build_criterion(cfg, *args, **kwargs)
        unused = self.teaches_words_alone and self._teacher is None and self.cfg.teacher_path
        if unused and self.trains_anew:
            name = getattr(cfg, "_name", None) or type(criterion).__name__
            raise UserError(
                f"--teacher-path is {self.cfg.teacher_path}, but --criterion {name} does not learn from a teacher's "
                "words: give --criterion word_distillation, or --task sequence_distillation, whose targets any "
                "criterion learns, or leave out --teacher-path"
            )
        return criterion

    def max_positions(self) -> Tuple[int, int]:
        """The longest source and target of the task, and of its teacher once that is loaded."""
        own = super().max_positions()
        return own if self._teacher is None else utils.resolve_max_positions(own, self._teacher.max_positions())


@register_task("sequence_distillation", dataclass=SequenceDistillationConfig)
class SequenceDistillationTask(WordDistillationTask):
    """The teacher decodes the training set once, into a cache. Any criterion then trains on the cache."""

    cfg: SequenceDistillationConfig
    teaches_words_alone = False

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> None:
        """Loads a split. The training set comes from the cache, which is made first if it is incomplete.

        Raises:
            UserError: if options do not fit, the training set is empty or the teacher is missing; if the cache is
                damaged, was made with other options, or cannot be written.
        """
        if split != self.cfg.train_subset:
            super().load_dataset(split, epoch, combine, **kwargs)
            return
        gold, shard = self.load_gold(combine), Shard.here()
        # Worker 0 decides for all: another process may finish the cache between the checks of two workers.
        if not shard.agree(self.is_distilled()):
            self._distil(gold, shard)
        distilled = self._load_distilled(split)
        facts = ", ".join(f"{count:,} {name}" for name, count in self.cache.facts().items())
        logger.info(f"training on the distilled pairs in {self.cfg.distill_cache}: {facts}")
        self.datasets[split] = self._together(distilled, gold) if self.cfg.distill_keep_original else distilled

    def _distil(self, gold: LanguagePairDataset, shard: Shard) -> None:
        """Makes the cache, or waits for another process that makes it now."""
        with self.cache.alone() if shard.rank == 0 else nullcontext():
            shard.wait()  # until worker 0 has the lock
            if not self.is_distilled():
                self.job(gold).run(shard)

    def load_original_dataset(self, split: str) -> None:
        """Loads the original text, not the teacher's output."""
        if split == self.cfg.train_subset:
            self.load_gold(combine=False)
        else:
            self.load_dataset(split)

    def load_gold(self, combine: bool = True) -> LanguagePairDataset:
        """Loads the original training set. Raises UserError if it is empty or options do not fit."""
        check_options(self.cfg)
        split, buckets = self.cfg.train_subset, self.cfg.num_batch_buckets
        self.cfg.num_batch_buckets = 0  # fairseq would pad the sentences, and the padding would enter the cache
        try:
            super().load_dataset(split, 1, combine)
        finally:
            self.cfg.num_batch_buckets = buckets
        refuse_one_sided(self.datasets[split], split, self.cfg.data, self.cfg.target_lang)
        return self.datasets[split]

    def job(self, gold: LanguagePairDataset) -> DistillationJob:
        """The job that makes the cache of a training set."""
        languages = (self.cfg.source_lang, self.cfg.target_lang)
        return DistillationJob(
            cache=self.cache,
            gold=gold,
            longest_source=min(self.cfg.max_source_positions, self.teacher.max_positions()[0]),
            max_tokens=max(1, self.cfg.distill_max_tokens // beam_of(self.cfg)),
            make_decoder=lambda: self._decoder(gold),
            release_teacher=lambda: self.teacher.place(torch.device("cpu")),
            prefix="{}.{}-{}".format(self.cfg.train_subset, *languages),
            dictionaries=dict(zip(languages, (self.source_dictionary, self.target_dictionary))),
        )

    def is_distilled(self) -> bool:
        """Whether the cache is complete. Raises UserError if the teacher or its options are refused."""
        if not self.cache.manifest_path.exists():
            score = common_prefix_score(self.teacher.models)
            problem = unused_length_penalty(score, self.cfg.distill_lenpen, "--distill-lenpen")
            if problem:
                raise UserError(problem)
        return self.cache.complete()

    @cached_property
    def cache(self) -> Cache:
        """The folder, with the inputs and options that its targets depend on."""
        dtype = dtype_on(self._device(), str(self.cfg.teacher_dtype))
        return cache_of(self.cfg, beam_of(self.cfg), self._remove_bpe(), dtype)

    def _decoder(self, gold: LanguagePairDataset) -> TeacherDecoder:
        """The teacher on this process's device, with the options of its search and of the selection."""
        device = self._device()
        models = self.teacher.place(device)
        longest = {"max_len_a": self.cfg.distill_max_len_a, "max_len_b": self.cfg.distill_max_len_b}
        options = Namespace(beam=beam_of(self.cfg), lenpen=self.cfg.distill_lenpen, **longest)
        generator = self.build_generator(models, options)
        selector = HypothesisSelector(
            str(self.cfg.distill_mode),
            self.cfg.distill_nbest,
            self.cfg.distill_max_ratio,
            self.target_dictionary,
            self._remove_bpe(),
        )
        return TeacherDecoder(models, generator, gold, selector, device)

    def _remove_bpe(self) -> Optional[str]:
        return self.cfg.distill_remove_bpe or self.cfg.eval_bleu_remove_bpe

    def _device(self) -> torch.device:
        use_gpu = torch.cuda.is_available() and not self.cfg.cpu
        return torch.device("cuda", torch.cuda.current_device()) if use_gpu else torch.device("cpu")

    def _load_distilled(self, split: str) -> LanguagePairDataset:
        """The pairs of the cache."""
        cfg = self.cfg
        return load_langpair_dataset(
            cfg.distill_cache,
            split,
            cfg.source_lang,
            self.src_dict,
            cfg.target_lang,
            self.tgt_dict,
            combine=False,
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
        """Both sets of pairs as one data set."""
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
