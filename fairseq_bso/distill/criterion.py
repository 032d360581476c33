"""``--criterion word_distillation`` (Kim & Rush 2016, section 3.1)."""

import math
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from fairseq import utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from omegaconf import II
from torch import Tensor

from ..compat import metrics
from ..errors import BadInput
from ..search.scorer import Scorer
from .blockwise_loss import TeacherRows, block_word_loss, rows_of_scorers
from .loss import TeacherWords, soften
from .teacher_cache import MemoryFolder, TeacherMemory
from .word_loss import WordLoss, word_loss


@dataclass
class WordDistillationCriterionConfig(FairseqDataclass):
    distill_weight: float = field(
        default=0.5, metadata={"help": "weight of the teacher, from 0 (gold words alone) to 1 (teacher alone)"}
    )
    distill_temperature: float = field(
        default=1.0, metadata={"help": "temperature of teacher and student in the distillation loss"}
    )
    teacher_top_k: int = field(
        default=0, metadata={"help": "of the teacher only the K likeliest words, renormalised; 0: all words"}
    )
    teacher_memory: bool = field(
        default=False,
        metadata={
            "help": "compute the teacher's K likeliest words (--teacher-top-k) of each sentence once and keep them, "
            "instead of again in every epoch: quicker, for 8 K bytes of memory a target word"
        },
    )
    teacher_memory_folder: Optional[str] = field(
        default=None,
        metadata={"help": "as --teacher-memory, and kept in this folder too, for the next training with this teacher"},
    )
    label_smoothing: float = field(default=0.0, metadata={"help": "label smoothing of the gold words"})
    sentence_avg: bool = II("optimization.sentence_avg")


@register_criterion("word_distillation", dataclass=WordDistillationCriterionConfig)
class WordDistillationCriterion(FairseqCriterion):
    """Sums ``(1 - a) * NLL + a * tau**2 * CE(teacher, student)`` over the target words of a batch."""

    def __init__(
        self,
        task,
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
            ("--distill-temperature", distill_temperature, 0 < distill_temperature < math.inf, "above 0"),
            ("--teacher-top-k", teacher_top_k, teacher_top_k >= 0, "at least 0"),
            ("--label-smoothing", label_smoothing, 0 <= label_smoothing < 1, "at least 0 and below 1"),
        ):
            if not right:
                raise BadInput(f"word_distillation: {name} is {value}, but must be {allowed}")
        remembers = teacher_memory or bool(teacher_memory_folder)
        if remembers and teacher_top_k == 0:
            raise BadInput(
                "word_distillation: --teacher-memory keeps the teacher's likeliest words, so it needs --teacher-top-k "
                "above 0 (32, say)"
            )
        if not hasattr(type(task), "teacher"):
            raise BadInput(
                "--criterion word_distillation needs a task with a teacher: --task word_distillation, or --task "
                "sequence_distillation for distilled targets too"
            )
        self.weight, self.temperature, self.top_k = distill_weight, distill_temperature, teacher_top_k
        self.label_smoothing, self.sentence_avg = label_smoothing, sentence_avg
        # No module, so that its parameters are in no checkpoint and no optimizer.
        self.teacher = task.teacher
        self.teacher.check_probabilities()
        folder = MemoryFolder(teacher_memory_folder, self.teacher, teacher_top_k) if teacher_memory_folder else None
        self.memory = TeacherMemory(self.teacher, teacher_top_k, self.padding_idx, folder) if remembers else None

    def forward(self, model, sample: Dict[str, Any], reduce: bool = True):
        """The summed loss, its sample size, and what to log."""
        found = self._sums(model, sample)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logged = {
            "loss": found.loss.detach(),
            "nll_loss": found.nll,
            "distill_loss": found.distillation,
            "teacher_entropy": found.entropy,
            "agreement": found.agreement,
            "distilled_tokens": sample["ntokens"] if self.weight > 0 else 0,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        return found.loss, sample_size, logged

    def _sums(self, model, sample: Dict[str, Any]) -> WordLoss:
        """What is added up over the words of a batch: in blocks of words where the model can, and has probabilities."""
        net_input, options = sample["net_input"], (self.weight, self.temperature, self.label_smoothing)
        score = getattr(model, "prefix_score", None)
        if score is None or not score.normalized:
            net_output = model(**net_input)
            log_probs = model.get_normalized_probs(net_output, log_probs=True)  # (B, T, V)
            target = model.get_targets(sample, net_output).view(-1)  # (N,)
            soft = self._teachers_words(net_input) if self.weight > 0 else None
            return word_loss(log_probs.view(-1, log_probs.size(-1)), target, self.padding_idx, soft, *options)
        target = sample["target"].reshape(-1)  # (N,)
        teacher = self._teachers_rows(net_input) if self.weight > 0 else None

        def loss(outputs: Tensor, scorer: Scorer) -> WordLoss:
            return block_word_loss(outputs.flatten(0, 1), scorer, target, self.padding_idx, teacher, *options)

        return model(**net_input, word_loss=loss)

    def _teachers_rows(self, net_input: Dict[str, Any]) -> TeacherRows:
        """The teacher's distribution at some of the target words, computed when it is asked for if the teacher can."""
        if self.memory is not None:
            return self._teachers_words(net_input).at
        members = self.teacher.outputs(net_input)
        if members is None:
            log_probs = self.teacher.log_probs(net_input).flatten(0, 1)  # (N, V)
            return lambda rows: soften(log_probs[rows], self.temperature, self.top_k, in_place=True)
        flat = [(outputs.flatten(0, 1), scorer) for outputs, scorer in members]  # (N, H)
        return rows_of_scorers(flat, self.temperature, self.top_k)

    def _teachers_words(self, net_input: Dict[str, Any]) -> TeacherWords:
        """The teacher's distribution at each of the (N,) target words, computed or remembered."""
        if self.memory is not None:
            log_probs, words = self.memory.likeliest(net_input)  # (B, T, C) each
            return soften(log_probs.flatten(0, 1), self.temperature, in_place=True, words=words.flatten(0, 1))
        along_target = self.teacher.log_probs(net_input)  # (B, T, V)
        return soften(along_target.flatten(0, 1), self.temperature, self.top_k, in_place=True)

    @staticmethod
    def reduce_metrics(logging_outputs: List[Dict[str, Any]]) -> None:
        """Adds up the workers' sums and logs ratios of them; losses and entropy in bits, as fairseq does."""
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
        """All logged values are sums."""
        return True


_SUMS = "loss nll_loss distill_loss teacher_entropy agreement distilled_tokens ntokens nsentences sample_size".split()


def _bits(total: float, count: float) -> float:
    return total / count / math.log(2) if count > 0 else 0.0
