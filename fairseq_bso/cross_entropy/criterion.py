"""Cross entropy in blocks of words: ``--criterion blockwise_cross_entropy``,
``blockwise_label_smoothed_cross_entropy`` and ``self_normalized_cross_entropy``.

The first two equal fairseq's ``cross_entropy`` and ``label_smoothed_cross_entropy``, with the same options, sums and
log, and need less time and memory. They normalise the scores themselves, so that they train models of any ``--scorer``.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Dict, List

from fairseq.criterions import register_criterion
from fairseq.criterions.cross_entropy import CrossEntropyCriterion, CrossEntropyCriterionConfig
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from torch import Tensor

from ..blockwise_cross_entropy import CrossEntropy, cross_entropy
from ..compat import metrics
from ..errors import UserError
from ..search.scorer import Scorer
from ..subsets import target_of


def check_model(criterion: str, model, instead: str) -> None:
    """Raises UserError for a model that gives no attentional vectors and scorer.

    Args:
        criterion: its name.
        model: the model.
        instead: the name of fairseq's criterion for such a model.
    """
    if getattr(model, "prefix_score", None) is None:
        raise UserError(
            f"{criterion} needs a model that gives its attentional vectors, but got {type(model).__name__}: use "
            f"--arch bso_lstm (or one of its named sizes), or --criterion {instead}"
        )


def cross_entropy_of(
    name: str, model, sample: Dict[str, Any], padding: int, skipped: int = 0, **options
) -> CrossEntropy:
    """The sums over the target words of a batch, computed inside the model's forward pass.

    Args:
        name: of the criterion, for messages.
        model: a ``bso_lstm``, wrapped or not.
        sample: a batch of fairseq.
        padding: the padding symbol; its targets are ignored.
        skipped: how many words at the beginning of each target are ignored.
        options: of ``blockwise_cross_entropy.cross_entropy``.
    """
    target = target_of(sample, name)[:, skipped:].flatten()  # (N,)

    def loss(outputs: Tensor, scorer: Scorer) -> CrossEntropy:
        flat = outputs[:, skipped:].flatten(0, 1)  # (N, H)
        return cross_entropy(flat, scorer.weight, scorer.bias, target, padding, **options)

    return model(**sample["net_input"], word_loss=loss)


@register_criterion("blockwise_cross_entropy", dataclass=CrossEntropyCriterionConfig)
class BlockwiseCrossEntropyCriterion(CrossEntropyCriterion):
    """fairseq's ``cross_entropy``, in blocks of words."""

    def forward(self, model, sample: Dict[str, Any], reduce: bool = True):
        """The summed loss, its sample size, and the logging output."""
        check_model("blockwise_cross_entropy", model, "cross_entropy")
        loss = cross_entropy_of("blockwise_cross_entropy", model, sample, self.padding_idx).loss
        logged = _logged(loss, sample, self.sentence_avg)
        return loss, logged["sample_size"], logged


@register_criterion("blockwise_label_smoothed_cross_entropy", dataclass=LabelSmoothedCrossEntropyCriterionConfig)
class BlockwiseLabelSmoothedCrossEntropyCriterion(LabelSmoothedCrossEntropyCriterion):
    """fairseq's ``label_smoothed_cross_entropy``, in blocks of words."""

    name, self_normalize = "blockwise_label_smoothed_cross_entropy", 0.0

    def forward(self, model, sample: Dict[str, Any], reduce: bool = True):
        """The summed loss, its sample size, and the logging output."""
        check_model(self.name, model, "label_smoothed_cross_entropy")
        sums = cross_entropy_of(
            self.name,
            model,
            sample,
            self.padding_idx,
            self.ignore_prefix_size,
            smoothing=self.eps,
            self_normalize=self.self_normalize,
            count_correct=self.report_accuracy,
        )
        logged = _logged(sums.loss, sample, self.sentence_avg)
        logged.update(self.also_logged(sums, sample))
        return sums.loss, logged["sample_size"], logged

    def also_logged(self, sums: CrossEntropy, sample: Dict[str, Any]) -> Dict[str, Any]:
        """Further sums to log."""
        logged = {"nll_loss": sums.nll}
        if self.report_accuracy:
            counted = sample["target"][:, self.ignore_prefix_size :].ne(self.padding_idx)
            logged.update(n_correct=sums.correct, total=counted.sum())
        return logged


@dataclass
class SelfNormalizedCrossEntropyConfig(LabelSmoothedCrossEntropyCriterionConfig):
    self_normalize: float = field(
        default=0.1,
        metadata={
            "help": "weight of (log Z)^2 at each word, where Z is the sum of exp(score): makes raw scores "
            "log-probabilities, the start for --scorer summed"
        },
    )


@register_criterion("self_normalized_cross_entropy", dataclass=SelfNormalizedCrossEntropyConfig)
class SelfNormalizedCrossEntropyCriterion(BlockwiseLabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross entropy plus ``weight * (log Z)^2`` at each word. ``Z`` is the sum of ``exp(score)``.

    The log shows the root mean square of ``log Z``.
    """

    name = "self_normalized_cross_entropy"

    def __init__(
        self,
        task,
        sentence_avg: bool,
        label_smoothing: float,
        self_normalize: float,
        ignore_prefix_size: int = 0,
        report_accuracy: bool = False,
    ) -> None:
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        if not 0 <= self_normalize < math.inf:
            raise UserError(f"{self.name}: --self-normalize is {self_normalize}, but must be at least 0")
        self.self_normalize = self_normalize

    def also_logged(self, sums: CrossEntropy, sample: Dict[str, Any]) -> Dict[str, Any]:
        """Further sums to log."""
        return {**super().also_logged(sums, sample), "squared_log_z": sums.squared_log_z}

    @classmethod
    def reduce_metrics(cls, logging_outputs: List[Dict[str, Any]]) -> None:
        """Sums over the workers and logs ratios of the sums."""
        super().reduce_metrics(logging_outputs)
        squares, tokens = (
            sum(float(each.get(key, 0)) for each in logging_outputs) for key in ("squared_log_z", "ntokens")
        )
        metrics.log_scalar("_squared_log_z", squares / max(1.0, tokens), tokens)
        metrics.log_derived("log_z", lambda meters: round(math.sqrt(meters["_squared_log_z"].avg), 3))


def _logged(loss: Tensor, sample: Dict[str, Any], sentence_avg: bool) -> Dict[str, Any]:
    """The logging output of fairseq's criterions."""
    sentences = sample["target"].size(0)
    return {
        "loss": loss.detach(),
        "ntokens": sample["ntokens"],
        "nsentences": sentences,
        "sample_size": sentences if sentence_avg else sample["ntokens"],
    }
