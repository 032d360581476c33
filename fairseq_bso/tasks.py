"""``--task bso_translation``: fairseq's translation task, aware of raw scores and of constraints."""

import logging
import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Optional
from weakref import WeakKeyDictionary

import numpy
from fairseq.dataclass.configs import GenerationConfig
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from torch import Tensor

from .decoding.constrained import ConstrainedGenerator
from .decoding.constraint import Constraint
from .decoding.length_ratios import LengthRatioConfig, LengthRatioMixin
from .decoding.unknown_words import check_texts
from .decoding.unnormalized import (
    UnnormalizedEnsemble,
    UnnormalizedScorer,
    check_raw_scores,
    common_prefix_score,
    warn_of_undivided_sums,
)
from .errors import UserError, counted
from .prune.task import PruningConfig, PruningMixin
from .shortlist.files import load_shortlist, path_in
from .subsets import check_subset, refuse_one_sided

logger = logging.getLogger(__name__)
CHECKED_AT_ONCE = 256  # sentences
SHORTLIST = "shortlist"
ITERATIVE = [field.name for field in fields(GenerationConfig) if field.name.startswith("iter_decode_")]
ITERATIVE += ["retain_iter_history", "print_step"]
"""the options of fairseq-generate for non-autoregressive models"""


@dataclass
class BsoTranslationConfig(TranslationConfig, PruningConfig, LengthRatioConfig):
    """The options of ``translation``, the constraint, pruning, and the length ratios of validation."""

    successors: str = field(
        default="none",
        metadata={
            "help": "constraint on the words that may follow a prefix, in training with beam_search_optimization, "
            "validation and decoding: none (any word), word_order, arc_standard, shortlist, or the name of a "
            "constraint that you registered"
        },
    )
    shortlist: str = field(
        default="",
        metadata={
            "help": "file of --successors shortlist, which `fairseq-bso shortlist` makes; default: "
            "shortlist.SOURCE-TARGET in the data folder"
        },
    )


@register_task("bso_translation", dataclass=BsoTranslationConfig)
class BsoTranslationTask(LengthRatioMixin, PruningMixin, TranslationTask):
    """Translation under an optional constraint, with optional pruning.

    Raw scores of finished hypotheses (``--scorer summed`` and ``unnormalized``) are never divided by length. An
    ensemble averages raw scores, whereas fairseq averages probabilities.
    """

    cfg: BsoTranslationConfig
    looks_at_scorers = True  # models then skip `check_commands_options`

    def __init__(self, cfg: BsoTranslationConfig, src_dict, tgt_dict) -> None:
        super().__init__(cfg, src_dict, tgt_dict)
        if cfg.successors == SHORTLIST:
            logger.info(f"--successors {SHORTLIST} reads {self.shortlist_path} at its first use")
        elif cfg.shortlist:
            raise UserError(
                f"--shortlist is {cfg.shortlist}, but has no effect with --successors {cfg.successors}: give "
                f"--successors {SHORTLIST}, or leave out --shortlist"
            )
        else:
            self.constraint  # noqa: B018 an unknown name is refused at once
        self.learns = self.builds_model = False
        self.allowed_of_dataset: WeakKeyDictionary = WeakKeyDictionary()

    @property
    def shortlist_path(self) -> str:
        """The file of ``--successors shortlist``."""
        return self.cfg.shortlist or path_in(self.cfg.data, self.cfg.source_lang, self.cfg.target_lang)

    @cached_property
    def constraint(self) -> Optional[Constraint]:
        """The constraint of the task; None if any word may follow. A model loads without its shortlist."""
        name, sides = self.cfg.successors, (self.source_dictionary, self.target_dictionary)
        if name == "none":
            return None
        shortlist = load_shortlist(self.shortlist_path, *sides) if name == SHORTLIST else None
        return Constraint(name, *sides, shortlist)

    def batch_constraint(self, src_tokens: Tensor, gold: Optional[Tensor] = None):
        """The constraint of a batch; None if any word may follow.

        Args:
            src_tokens: (B, S).
            gold: (B, T) the targets of training, which ``shortlist`` adds to its words.
        """
        return None if self.constraint is None else self.constraint(src_tokens, gold)

    def build_model(self, cfg, from_checkpoint=False):
        """fairseq's model; with ``--eval-bleu`` also the generator that ``--eval-bleu-args`` describe."""
        self.builds_model = True
        try:
            return super().build_model(cfg, from_checkpoint)
        finally:
            self.builds_model = False

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """Loads a split.

        Raises:
            UserError: the data has no such split, it is empty, or it has no target side in training or validation.
        """
        check_subset(self.cfg.data, split, self.cfg.source_lang, self.cfg.target_lang)
        super().load_dataset(split, epoch, combine, **kwargs)
        if self.learns:
            refuse_one_sided(self.datasets[split], split, self.cfg.data, self.cfg.target_lang)

    def build_criterion(self, cfg, *args, **kwargs):
        """fairseq's criterion. Only training and validation build one, and only they require that gold is allowed."""
        self.learns = True
        return super().build_criterion(cfg, *args, **kwargs)

    def filter_indices_by_size(self, indices, dataset, max_positions=None, ignore_invalid_inputs=False):
        """fairseq's filter, under a constraint.

        In training and validation it also leaves out pairs whose target is not allowed. In decoding with
        ``--skip-invalid-size-inputs-valid-test`` it leaves out sentences whose output would be too long.

        Raises:
            UserError: if no pair is left.
        """
        indices = super().filter_indices_by_size(indices, dataset, max_positions, ignore_invalid_inputs)
        if self.constraint is None or (self.learns and self.constraint.takes_gold):
            return indices
        if not self.learns:
            return self._within_positions(indices, dataset, max_positions) if ignore_invalid_inputs else indices
        if dataset not in self.allowed_of_dataset:
            self.allowed_of_dataset[dataset] = self._allowed(indices, dataset)
        kept = indices[self.allowed_of_dataset[dataset][indices]]
        if len(kept) == 0 and len(indices) > 0:
            raise UserError(
                f"--successors {self.constraint.name} allows none of the targets of {len(indices)} pairs: prepare the "
                "data for this constraint, or choose another"
            )
        return kept

    def _within_positions(self, indices, dataset, max_positions):
        """The sentences whose output fits into the positions of the models. One warning covers all others."""
        most = max_positions[1] if isinstance(max_positions, (tuple, list)) else max_positions
        if most is None or not self.constraint.bounds_length():
            return indices
        fits = numpy.zeros(len(dataset), dtype=bool)
        for sample in _batches(indices, dataset):
            longest = self.constraint(sample["net_input"]["src_tokens"]).longest
            fits[sample["id"].numpy()] = (longest <= most).numpy()
        kept, left_out = indices[fits[indices]], numpy.sort(indices[~fits[indices]]).tolist()
        if left_out:
            logger.warning(
                f"{counted(len(left_out), 'sentence')} skipped, because --successors {self.constraint.name} needs "
                f"outputs of more than {most} words there; the first sentence ids are {left_out[:10]}"
            )
        return kept

    def _allowed(self, indices, dataset):
        """(sentences of the dataset,) bool, True if a target is allowed. One warning covers all other sentences."""
        allowed = numpy.zeros(len(dataset), dtype=bool)
        examples = []
        for sample in _batches(indices, dataset):
            first = self.constraint.first_disallowed(sample["net_input"]["src_tokens"], sample["target"])
            allowed[sample["id"][first < 0].numpy()] = True
            for row in (first >= 0).nonzero().squeeze(1).tolist():
                word = self.target_dictionary[int(sample["target"][row, first[row]])]
                examples.append((int(sample["id"][row]), int(first[row]), word))
        if examples:
            sentence, place, word = min(examples)
            logger.warning(
                f"{len(examples)} of {len(indices)} pairs are left out, because --successors {self.constraint.name} "
                f"does not allow their targets; the first is sentence {sentence} with {word!r} as word {place} (both "
                "counted from 0)"
            )
        return allowed

    def build_generator(self, models, args, seq_gen_cls=None, extra_gen_cls_kwargs=None, prefix_allowed_tokens_fn=None):
        """fairseq's generator (or scorer of references) for ``models``, which all have the same ``--scorer``.

        Raises:
            UserError: for models of different scorers, options out of range, or options without meaning: for a decoder
                from left to right, under raw scores, or under a constraint.
        """
        score = common_prefix_score(models)
        _check_search(args)
        if score.normalized:
            warn_of_undivided_sums(args)
        else:
            check_raw_scores(score, len(models), args, self.builds_model)
            if getattr(args, "score_reference", False):
                alignment = getattr(args, "print_alignment", None)
                return UnnormalizedScorer(self.target_dictionary, compute_alignment=bool(alignment))
        if self.constraint is not None and not getattr(args, "score_reference", False):
            _check_constrained(args, seq_gen_cls, prefix_allowed_tokens_fn, self.constraint)
            if getattr(args, "replace_unk", None) is not None:
                check_texts(self.datasets)
            seq_gen_cls = ConstrainedGenerator
            extra_gen_cls_kwargs = {**(extra_gen_cls_kwargs or {}), "constraint": self.constraint}
        generator = super().build_generator(models, args, seq_gen_cls, extra_gen_cls_kwargs, prefix_allowed_tokens_fn)
        if not score.normalized:
            if generator.normalize_scores:
                logger.info(f"the model has --scorer {score.name}: scores of hypotheses are not divided by length")
            generator.normalize_scores = False
            if len(models) > 1 and self.constraint is None:
                generator.model = UnnormalizedEnsemble(models)
        return generator


def _batches(indices, dataset):
    """fairseq's batches of the sentences at some indices of a dataset."""
    for start in range(0, len(indices), CHECKED_AT_ONCE):
        yield dataset.collater([dataset[int(index)] for index in indices[start : start + CHECKED_AT_ONCE]])


def _check_search(args) -> None:
    """Checks the options of fairseq's generator that end in a traceback, or have no effect from left to right.

    Raises:
        UserError: for a beam, list or temperature out of range, and for options of iterative decoding.
    """
    for name in ("beam", "nbest"):
        value = getattr(args, name, 1)
        if not isinstance(value, int) or value < 1:
            raise UserError(f"--{name} is {value}, but must be a whole number above 0")
    temperature = getattr(args, "temperature", 1.0)
    if not isinstance(temperature, (int, float)) or not 0 < temperature < math.inf:
        raise UserError(f"--temperature is {temperature}, but must be above 0, and finite")
    default = GenerationConfig()
    given = [name for name in ITERATIVE if getattr(args, name, None) not in (None, getattr(default, name))]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UserError(
            f"{options} has no meaning in --task bso_translation, which decodes from left to right: leave it out"
        )


def _check_constrained(args, seq_gen_cls, prefix_allowed_tokens_fn, constraint: Constraint) -> None:
    """Checks the options of fairseq's generator under a constraint.

    Raises:
        UserError: for options that work on words, whereas the constrained generator works on candidates; for those that
            contradict the constraint.
    """
    if constraint.bounds_length():
        if getattr(args, "min_len", 1) > 1:
            raise UserError(
                f"--min-len is {args.min_len}, but --successors {constraint.name} decides how long an output is: leave "
                "out --min-len"
            )
        if getattr(args, "no_repeat_ngram_size", 0) > 0:
            raise UserError(
                f"--no-repeat-ngram-size is {args.no_repeat_ngram_size}, but --successors {constraint.name} decides "
                "which words an output holds, repeated ones too: leave out --no-repeat-ngram-size"
            )
        if getattr(args, "max_len_a", 0) != 0 or getattr(args, "max_len_b", 200) != 200:
            logger.warning(
                f"--successors {constraint.name} bounds the length: --max-len-a and --max-len-b have no effect"
            )
    refused = [
        ("--print-alignment", getattr(args, "print_alignment", None)),
        ("--constraints", getattr(args, "constraints", None)),
        ("--match-source-len", getattr(args, "match_source_len", False)),
        ("--lm-path", getattr(args, "lm_path", None)),
        # The allowed words have a part of the probability only, and mostly less than P.
        ("--sampling-topp", getattr(args, "sampling_topp", -1.0) > 0),
        ("--replace-unk", getattr(args, "replace_unk", None) is not None and constraint.name != "word_order"),
        ("another generator", seq_gen_cls),
        ("a function of allowed prefixes", prefix_allowed_tokens_fn),
    ]
    given = [option for option, value in refused if value]
    if given:
        raise UserError(f"{', '.join(given)} cannot be used with --successors: leave out one of them")
