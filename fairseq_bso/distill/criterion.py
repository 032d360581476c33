"""``--criterion word_distillation`` (Kim & Rush 2016, section 3.1)."""

import math
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple, Union

from fairseq import utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from omegaconf import II
from torch import Tensor

from ..compat import metrics
from ..errors import UserError
from ..search.scorer import Scorer
from ..subsets import target_of
from .blockwise_loss import TeacherRows, block_word_loss, rows_of_scorers
from .teacher_cache import TeacherTopKCache, TopKFolder
from .teacher_distribution import TeacherDistribution, teacher_distribution
from .word_loss import WordLoss, word_loss


@dataclass
class WordDistillationCriterionConfig(FairseqDataclass):
    distill_weight: float = field(
        default=0.5,
        metadata={"help": "weight of the teacher in the loss, from 0 (gold words alone) to 1 (teacher alone)"},
    )
    distill_temperature: float = field(
        default=1.0, metadata={"help": "temperature of teacher and student in the distillation loss"}
    )
    teacher_top_k: int = field(
        default=0, metadata={"help": "keep the teacher's K most probable words, renormalised; 0: all words"}
    )
    teacher_memory: bool = field(
        default=False,
        metadata={
            "help": "compute the teacher's top K words (--teacher-top-k) of each sentence once, not in every epoch; "
            "this is faster and needs 8 K bytes of memory per target word"
        },
    )
    teacher_memory_folder: Optional[str] = field(
        default=None,
        metadata={"help": "like --teacher-memory; also store the words in this folder for later trainings"},
    )
    label_smoothing: float = field(default=0.0, metadata={"help": "label smoothing of the gold words"})
    sentence_avg: bool = II("optimization.sentence_avg")


@register_criterion("word_distillation", dataclass=WordDistillationCriterionConfig)
class WordDistillationCriterion(FairseqCriterion):
    """Sums ``(1 - a) * NLL + a * tau**2 * CE(teacher, student)`` over the target words of a batch."""

    def __init__(
        self,
        task: Any,
        distill_weight: float,
        distill_temperature: float,
        teacher_top_k: int,
        teacher_memory: bool,
        label_smoothing: float,
        sentence_avg: bool,
        teacher_memory_folder: Optional[str] = None,
    ) -> None:
        super().__init__(task)
        for name, value, right, allowed in (
            ("--distill-weight", distill_weight, 0 <= distill_weight <= 1, "from 0 to 1"),
            ("--distill-temperature", distill_temperature, 0 < distill_temperature < math.inf, "above 0, and finite"),
            ("--teacher-top-k", teacher_top_k, teacher_top_k >= 0, "at least 0"),
            ("--label-smoothing", label_smoothing, 0 <= label_smoothing < 1, "at least 0 and below 1"),
        ):
            if not right:
                raise UserError(f"word_distillation: {name} is {value}, but must be {allowed}")
        cached = teacher_memory or bool(teacher_memory_folder)
        if cached and teacher_top_k == 0:
            raise UserError(
                "word_distillation: --teacher-top-k is 0, but --teacher-memory stores only top k words: give "
                "--teacher-top-k 32, for example"
            )
        if not hasattr(type(task), "teacher"):
            raise UserError(
                "--criterion word_distillation needs a task with a teacher: use --task word_distillation, or --task "
                "sequence_distillation if the targets are also distilled"
            )
        self.weight, self.temperature, self.top_k = distill_weight, distill_temperature, teacher_top_k
        self.label_smoothing, self.sentence_avg = label_smoothing, sentence_avg
        # A Teacher is no module, so that its parameters are in no checkpoint and no optimizer.
        self.teacher = task.teacher
        self.teacher.check_probabilities()
        folder = TopKFolder(teacher_memory_folder, self.teacher, teacher_top_k) if teacher_memory_folder else None
        self.cache = TeacherTopKCache(self.teacher, teacher_top_k, self.padding_idx, folder) if cached else None

    def forward(
        self, model: Any, sample: Dict[str, Any], reduce: bool = True
    ) -> Tuple[Tensor, Union[int, float], Dict[str, Any]]:
        """The summed loss, its sample size, and the logging output."""
        target_of(sample, "word_distillation")
        sums = self._sums(model, sample)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logged = {
            "loss": sums.loss.detach(),
            "nll_loss": sums.nll,
            "distill_loss": sums.distillation,
            "teacher_entropy": sums.entropy,
            "agreement": sums.agreement,
            "distilled_tokens": sample["ntokens"] if self.weight > 0 else 0,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        return sums.loss, sample_size, logged

    def _sums(self, model: Any, sample: Dict[str, Any]) -> WordLoss:
        """The sums over the words of a batch, in blocks if the model gives its outputs and has probabilities."""
        net_input, options = sample["net_input"], (self.weight, self.temperature, self.label_smoothing)
        score = getattr(model, "prefix_score", None)
        if score is None or not score.normalized:
            net_output = model(**net_input)
            log_probs = model.get_normalized_probs(net_output, log_probs=True)  # (B, T, V)
            target = model.get_targets(sample, net_output).view(-1)  # (N,)
            teacher = self._distribution(net_input) if self.weight > 0 else None
            return word_loss(log_probs.view(-1, log_probs.size(-1)), target, self.padding_idx, teacher, *options)
        target = sample["target"].reshape(-1)  # (N,)
        rows = self._teacher_rows(net_input) if self.weight > 0 else None

        def loss(outputs: Tensor, scorer: Scorer) -> WordLoss:
            return block_word_loss(outputs.flatten(0, 1), scorer, target, self.padding_idx, rows, *options)

        return model(**net_input, word_loss=loss)

    def _teacher_rows(self, net_input: Dict[str, Any]) -> TeacherRows:
        """The teacher's distribution at some target words, computed on demand if the teacher gives its outputs."""
        if self.cache is not None:
            return self._distribution(net_input).at
        members = self.teacher.outputs(net_input)
        if members is None:
            log_probs = self.teacher.log_probs(net_input).flatten(0, 1)  # (N, V)
            return lambda rows: teacher_distribution(log_probs[rows], self.temperature, self.top_k, in_place=True)
        flat = [(outputs.flatten(0, 1), scorer) for outputs, scorer in members]  # (N, H)
        return rows_of_scorers(flat, self.temperature, self.top_k)

    def _distribution(self, net_input: Dict[str, Any]) -> TeacherDistribution:
        """The teacher's distribution at each of the N target words, computed or from the cache."""
        if self.cache is None:
            log_probs, words = self.teacher.log_probs(net_input), None  # (B, T, V)
        else:
            log_probs, words = self.cache.top_k(net_input)  # (B, T, C) each
            words = words.flatten(0, 1)  # (N, C)
        return teacher_distribution(log_probs.flatten(0, 1), self.temperature, self.top_k, in_place=True, words=words)

    @staticmethod
    def reduce_metrics(logging_outputs: List[Dict[str, Any]]) -> None:
        """Sums over the workers and logs ratios of the sums; losses and entropy are in bits, as in fairseq."""
        total = {key: sum(float(output.get(key, 0)) for output in logging_outputs) for key in _SUMS}
        sample_size, tokens, distilled = total["sample_size"], total["ntokens"], total["distilled_tokens"]
        metrics.log_scalar("loss", _bits(total["loss"], sample_size), sample_size, round=3)
        metrics.log_scalar("nll_loss", _bits(total["nll_loss"], tokens), tokens, round=3)
        metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["nll_loss"].avg))
        if distilled > 0:
            metrics.log_scalar("distill_loss", _bits(total["distill_loss"], distilled), distilled, round=3)
            metrics.log_scalar("teacher_entropy", _bits(total["teacher_entropy"], distilled), distilled, round=3)
            metrics.log_scalar("agreement", total["agreement"] / distilled, distilled, round=4)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Whether all logged values are sums: yes."""
        return True


_SUMS = "loss nll_loss distill_loss teacher_entropy agreement distilled_tokens ntokens nsentences sample_size".split()


def _bits(total: float, count: float) -> float:
    return total / count / math.log(2) if count > 0 else 0.0
