"""``--criterion scheduled_sampling``: cross entropy on a mixture of gold and own previous words, and word dropout.

The own words come from passes of teacher forcing without gradient and dropout: one of them (Mihaylova & Martins 2019,
arXiv 1906.07651), or several. After ``n`` passes the first ``n`` words of a sentence are those of Bengio et al. 2015,
who feed one word at a time.
"""

from dataclasses import dataclass, field
from typing import Any, Dict, List

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.dataclass import ChoiceEnum
from torch import Tensor

from ..compat import metrics
from ..errors import UserError
from ..linear import linear
from ..models.any_model import updates_made
from ..models.temporary import evaluation
from ..search.scorer import Scorer
from .criterion import BlockwiseLabelSmoothedCrossEntropyCriterion
from .mixing import SCHEDULES, Draws, SamplingSchedule, draw, followed_by_own, mixed, own_words


@dataclass
class ScheduledSamplingConfig(LabelSmoothedCrossEntropyCriterionConfig):
    sampling_schedule: ChoiceEnum(list(SCHEDULES)) = field(  # type: ignore[valid-type]
        default="linear",
        metadata={
            "help": "how the share of gold among the previous words falls with the update i: linear is k - slope * i, "
            "exponential is k ** i, inverse_sigmoid is k / (k + exp(i / k))"
        },
    )
    sampling_k: float = field(default=1.0, metadata={"help": "k of --sampling-schedule"})
    sampling_slope: float = field(
        default=1e-4,
        metadata={"help": "slope of --sampling-schedule linear; 0 keeps k, and with k = 1 all words are gold"},
    )
    sampling_floor: float = field(default=0.5, metadata={"help": "smallest share of gold among the previous words"})
    sampling_words: ChoiceEnum(["sampled", "best"]) = field(  # type: ignore[valid-type]
        default="sampled",
        metadata={"help": "own words are drawn from the model's distribution, or are the most probable ones"},
    )
    sampling_passes: int = field(
        default=1,
        metadata={"help": "passes without gradient that find own words; more see more own words before each other"},
    )
    word_dropout: float = field(
        default=0.0,
        metadata={"help": "share of the previous gold words that are replaced by <unk>; nothing is scaled for it"},
    )


@register_criterion("scheduled_sampling", dataclass=ScheduledSamplingConfig)
class ScheduledSamplingCriterion(BlockwiseLabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross entropy of gold after mixed previous words. Validation is plain teacher forcing.

    For ``bso_lstm`` the loss is computed in blocks of words.
    """

    name = "scheduled_sampling"

    def __init__(
        self,
        task,
        sentence_avg: bool,
        label_smoothing: float,
        ignore_prefix_size: int = 0,
        report_accuracy: bool = False,
        sampling_schedule: str = "linear",
        sampling_k: float = 1.0,
        sampling_slope: float = 1e-4,
        sampling_floor: float = 0.5,
        sampling_words: str = "sampled",
        sampling_passes: int = 1,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        try:
            self.schedule = SamplingSchedule(str(sampling_schedule), sampling_k, sampling_slope, sampling_floor)
        except ValueError as fault:
            raise UserError(f"{self.name}: {fault}") from None
        if not 0 <= word_dropout < 1:
            raise UserError(f"{self.name}: --word-dropout is {word_dropout}, but must be at least 0 and below 1")
        if sampling_passes < 1:
            raise UserError(f"{self.name}: --sampling-passes is {sampling_passes}, but must be at least 1")
        self.sampled, self.passes, self.word_dropout = str(sampling_words) == "sampled", sampling_passes, word_dropout
        self.unknown = task.target_dictionary.unk()

    def forward(self, model, sample: Dict[str, Any], reduce: bool = True):
        """The summed loss, its sample size, and the logging output."""
        counts = {"own_words": 0, "unknown_words": 0}
        if model.training:
            sample, draws = self.with_mixed_inputs(model, sample)
            counts = {"own_words": draws.own.sum(), "unknown_words": draws.unknown.sum()}
        if _has_scorer(model):
            loss, size, logged = super().forward(model, sample, reduce)
        else:
            loss, size, logged = LabelSmoothedCrossEntropyCriterion.forward(self, model, sample, reduce)
        return loss, size, {**logged, **counts}

    def with_mixed_inputs(self, model, sample: Dict[str, Any]):
        """The batch with mixed inputs, and the random decisions."""
        updates = updates_made(model, f"the shares of {self.name}")
        net_input = sample["net_input"]
        previous, share = net_input["prev_output_tokens"], self.schedule.gold_share(updates)
        draws = draw(previous, self.padding_idx, self.ignore_prefix_size, share, self.word_dropout)
        inputs = previous.masked_fill(draws.unknown, self.unknown)  # in the first pass no word is the model's own
        for _ in range(self.passes if share < 1 else 0):
            following = self._following(model, {**net_input, "prev_output_tokens": inputs}, draws)
            inputs = mixed(previous, draws, following, self.unknown)
        return {**sample, "net_input": {**net_input, "prev_output_tokens": inputs}}, draws

    def _following(self, model, net_input: Dict[str, Any], draws: Draws) -> Tensor:
        """(B, T) the model's own words after these inputs."""
        wanted = followed_by_own(draws)

        def scores_of(outputs: Tensor, scorer: Scorer) -> Tensor:
            """The raw scores give the same distribution for every --scorer."""
            return linear(outputs[wanted], scorer.weight, scorer.bias)  # (N, V)

        with torch.no_grad(), evaluation(model):
            if _has_scorer(model):
                scores = model(**net_input, word_loss=scores_of)
            else:
                scores = model.get_normalized_probs(model(**net_input), log_probs=True)[wanted]
        return own_words(scores, draws, self.padding_idx, self.sampled)

    @classmethod
    def reduce_metrics(cls, logging_outputs: List[Dict[str, Any]]) -> None:
        """Sums over the workers and logs ratios of the sums."""
        super().reduce_metrics(logging_outputs)
        keys = ("own_words", "unknown_words", "ntokens")
        own, unknown, tokens = (sum(float(each.get(key, 0)) for each in logging_outputs) for key in keys)
        if own or unknown:  # not in validation
            metrics.log_scalar("own_words", own / max(1.0, tokens), tokens, round=3)
            metrics.log_scalar("unknown_words", unknown / max(1.0, tokens), tokens, round=3)


def _has_scorer(model) -> bool:
    return getattr(model, "prefix_score", None) is not None
