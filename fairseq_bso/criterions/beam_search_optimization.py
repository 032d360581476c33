"""``--criterion beam_search_optimization`` (Wiseman & Rush 2016)."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import II
from torch import Tensor

from ..compat import metrics
from ..core.costs import get_delta
from ..core.curriculum import BeamCurriculum
from ..core.margin import margin_loss, words_since_reset
from ..core.successors import Successors
from ..errors import BadInput
from ..models.bso_lstm import SearchOptions, SearchScores

SEARCH_DTYPES = {"model": None, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class BeamSearchOptimizationConfig(FairseqDataclass):
    train_beam: int = field(default=6, metadata={"help": "beam of the search in training (at least 2)"})
    initial_beam: int = field(default=2, metadata={"help": "beam at the first update; used with --updates-per-beam"})
    updates_per_beam: int = field(
        default=0,
        metadata={"help": "the beam grows by one every N updates up to --train-beam; 0: --train-beam from the start"},
    )
    delta: str = field(
        default="zero_one",
        metadata={
            "help": "cost of a violation: zero_one, sentence_bleu, hamming, or a name of your own registered function"
        },
    )
    margin: float = field(default=1.0, metadata={"help": "by how much gold must beat the violator"})
    nll_weight: float = field(default=0.0, metadata={"help": "weight of the gold words' negative log-likelihood"})
    search_dtype: ChoiceEnum(list(SEARCH_DTYPES)) = field(  # type: ignore[valid-type]
        default="model",
        metadata={
            "help": "type of the search's product with the vocabulary; in bfloat16 it only picks candidates, which are "
            "ranked by exact scores (with --successors there is no such product)"
        },
    )
    search_screen: int = field(
        default=2, metadata={"help": "how many times the beam a 16-bit product keeps as candidates per sentence"}
    )
    sentence_avg: bool = II("optimization.sentence_avg")


@register_criterion("beam_search_optimization", dataclass=BeamSearchOptimizationConfig)
class BeamSearchOptimizationCriterion(FairseqCriterion):
    """Sums the margin loss over all violations of a batch; the sample size is target tokens (or ``--sentence-avg``)."""

    def __init__(
        self,
        task,
        train_beam: int,
        initial_beam: int,
        updates_per_beam: int,
        delta: str,
        margin: float,
        nll_weight: float,
        search_dtype: str,
        search_screen: int,
        sentence_avg: bool,
    ) -> None:
        super().__init__(task)
        try:
            self.curriculum = BeamCurriculum(initial_beam, train_beam, updates_per_beam)
            self.delta = get_delta(delta)
        except ValueError as fault:
            raise BadInput(f"beam_search_optimization: {fault}") from None
        for name, value, right in (
            ("--margin", margin, margin > 0),
            ("--search-screen", search_screen, search_screen >= 1),
            ("--nll-weight", nll_weight, nll_weight >= 0),
        ):
            if not right:
                allowed = "at least 0" if name == "--nll-weight" else "above 0"
                raise BadInput(f"beam_search_optimization: {name} is {value}, but must be {allowed}")
        self.margin, self.nll_weight, self.sentence_avg = margin, nll_weight, sentence_avg
        self.search_dtype, self.search_screen = SEARCH_DTYPES[str(search_dtype)], search_screen
        self.make_successors = getattr(task, "make_successors", None)

    def successors(self, sample: Dict[str, Any]) -> Optional[Successors]:
        """The task's constraint on this batch, if the task has one."""
        return self.make_successors(sample["net_input"]["src_tokens"]) if self.make_successors else None

    def forward(self, model, sample: Dict[str, Any], reduce: bool = True):
        """The summed loss, its sample size, and what to log."""
        _check_model(model)
        target = _checked_target(sample, self.padding_idx)
        beam = self.curriculum.beam(model.num_updates) if model.training else self.curriculum.final
        options = SearchOptions(
            beam, self.margin, self.search_dtype, self.search_screen, self.nll_weight > 0, self.successors(sample)
        )
        found: SearchScores = model(**sample["net_input"], target=target, search=options)
        violations = found.violations
        with torch.no_grad():
            costs = self.delta(*words_since_reset(violations, target))
        margin_sum = margin_loss(found.gold_scores, found.violator_scores, costs, self.margin)
        loss = margin_sum
        nll_sum = margin_sum.new_zeros(())
        if found.gold_log_probs is not None:
            nll_sum = -found.gold_log_probs.sum()
            loss = loss + self.nll_weight * nll_sum
        sample_size = target.size(0) if self.sentence_avg else sample["ntokens"]
        logged = {
            "loss": loss.detach(),
            "margin_loss": margin_sum.detach(),
            "nll_loss": nll_sum.detach(),
            "violations": violations.times.numel(),
            "searched_words": (violations.times - violations.resets + 1).sum(),
            "gold_gap": violations.gaps.sum(),
            "beam": beam,
            "batches": 1,
            "ntokens": sample["ntokens"],
            "nsentences": target.size(0),
            "sample_size": sample_size,
        }
        return loss, sample_size, logged

    @staticmethod
    def reduce_metrics(logging_outputs: List[Dict[str, Any]]) -> None:
        """Adds up the workers' sums and logs ratios of them."""
        total = {key: sum(float(output.get(key, 0)) for output in logging_outputs) for key in _SUMS}
        sample_size, tokens, violations = total["sample_size"], total["ntokens"], total["violations"]
        metrics.log_scalar("loss", _ratio(total["loss"], sample_size), sample_size, round=4)
        metrics.log_scalar("margin_loss", _ratio(total["margin_loss"], sample_size), sample_size, round=4)
        if total["nll_loss"] > 0:
            base_2 = _ratio(total["nll_loss"], tokens) / 0.6931471805599453
            metrics.log_scalar("nll_loss", base_2, tokens, round=3)
        metrics.log_scalar("violations_per_token", _ratio(violations, tokens), tokens, round=4)
        metrics.log_scalar("segment_length", _ratio(total["searched_words"], violations), violations, round=2)
        metrics.log_scalar("gold_gap", _ratio(total["gold_gap"], violations), violations, round=3)
        metrics.log_scalar("beam", _ratio(total["beam"], total["batches"]), total["batches"], round=1)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """All logged values are sums."""
        return True


_SUMS = (
    "loss margin_loss nll_loss violations searched_words gold_gap beam batches ntokens nsentences sample_size".split()
)


def _ratio(total: float, count: float) -> float:
    return total / count if count > 0 else 0.0


def _check_model(model) -> None:
    unnormalized: Optional[bool] = getattr(model, "unnormalized", None)
    if unnormalized is None:
        raise BadInput(
            "beam_search_optimization needs a model that can search in training, but got "
            f"{type(model).__name__}: use --arch bso_lstm (or one of its named sizes)"
        )
    if not unnormalized:
        raise BadInput(
            "beam_search_optimization needs raw scores, but the model has --scorer softmax: add --scorer unnormalized "
            "(a softmax checkpoint has the same parameters and can be the start: --finetune-from-model)"
        )


def _checked_target(sample: Dict[str, Any], padding: int) -> Tensor:
    """(B, T) target; raises BadInput where there is no gold to search for."""
    target = sample.get("target")
    if target is None:
        raise BadInput("beam_search_optimization needs target sentences, but the data has none: give both languages")
    real = target.ne(padding)  # (B, T)
    lengths = real.sum(1)  # (B,)
    contiguous = real == (lengths.unsqueeze(1) > torch.arange(target.size(1), device=target.device))
    if bool(contiguous.all() & (lengths > 1).all()):
        return target
    for faulty, reason in (
        (lengths <= 1, "is empty: correct or remove this pair and run fairseq-preprocess again"),
        (~real[:, 0], "is padded on the left: leave --left-pad-target False"),
        (~contiguous.all(1), "holds the padding symbol, which no word can be: run fairseq-preprocess on clean text"),
    ):
        if bool(faulty.any()):
            which = int(faulty.nonzero()[0])
            raise BadInput(f"the target of sentence {int(sample['id'][which])} (counted from 0) {reason}")
    return target
