"""``--criterion beam_search_optimization`` (Wiseman & Rush 2016)."""

import logging
import math
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import II
from torch import Tensor

from ..compat import metrics, updates_before
from ..errors import UserError
from ..models.any_model import prefix_score
from ..models.training_search import search_in_training
from ..search.constraints import BatchConstraint
from ..search.scorer import PrefixScore
from ..search.segments import SearchOptions, SearchScores
from .costs import get_delta
from .objective import BeamCurriculum, margin_loss, words_since_reset

logger = logging.getLogger(__name__)
SEARCH_DTYPES = {"model": None, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class BeamSearchOptimizationConfig(FairseqDataclass):
    train_beam: int = field(default=6, metadata={"help": "beam of the search in training (at least 2)"})
    initial_beam: int = field(
        default=2,
        metadata={"help": "beam at the first update; used with --updates-per-beam, and the smallest of --mixed-beams"},
    )
    updates_per_beam: int = field(
        default=0,
        metadata={"help": "the beam grows by one every N updates up to --train-beam; 0: --train-beam from the start"},
    )
    mixed_beams: bool = field(
        default=False,
        metadata={
            "help": "every update searches with another beam from --initial-beam to --train-beam, in shuffled order; "
            "greedy decoding loses less than with large beams alone"
        },
    )
    delta: str = field(
        default="zero_one",
        metadata={
            "help": "cost of a violation: zero_one, sentence_bleu, hamming, or a name of your own registered function"
        },
    )
    margin: float = field(default=1.0, metadata={"help": "by how much gold must beat the violator"})
    nll_weight: float = field(default=0.0, metadata={"help": "weight of the gold words' negative log-likelihood"})
    search_words: int = field(
        default=16,
        metadata={
            "help": "the search of a sentence ranks only the words among the N best after some gold prefix of it, and "
            "gold's own; what it finds is scored exactly. 0: the whole vocabulary"
        },
    )
    finished: ChoiceEnum(["dropped", "rival"]) = field(  # type: ignore[valid-type]
        default="dropped",
        metadata={
            "help": "what becomes of hypotheses that end before gold does: they leave the beam at the next step, or "
            "stay as rivals that gold must beat"
        },
    )
    finished_lenpen: float = field(
        default=1.0,
        metadata={
            "help": "with --finished rival and --scorer softmax: the --lenpen of decoding, which divides the score of "
            "a hypothesis by its length to this power"
        },
    )
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
    """Sums the margin loss over all violations of a batch.

    The sample size is the number of target tokens, or of sentences with ``--sentence-avg``.
    """

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
        search_words: int = 16,
        finished: str = "dropped",
        finished_lenpen: float = 1.0,
        mixed_beams: bool = False,
    ) -> None:
        super().__init__(task)
        try:
            self.curriculum = BeamCurriculum(initial_beam, train_beam, updates_per_beam, mixed_beams)
            self.delta = get_delta(delta)
        except ValueError as fault:
            raise UserError(f"beam_search_optimization: {fault}") from None
        for name, value, right in (
            ("--margin", margin, 0 < margin < math.inf),
            ("--search-screen", search_screen, search_screen >= 1),
            ("--nll-weight", nll_weight, 0 <= nll_weight < math.inf),
            ("--search-words", search_words, search_words >= 0),
            ("--finished-lenpen", finished_lenpen, 0 <= finished_lenpen < math.inf),
        ):
            if not right:
                allowed = "above 0" if name in ("--margin", "--search-screen") else "at least 0"
                finite = ", and finite" if isinstance(value, float) else ""
                raise UserError(f"beam_search_optimization: {name} is {value}, but must be {allowed}{finite}")
        if str(finished) == "dropped" and finished_lenpen != 1:
            raise UserError(
                f"beam_search_optimization: --finished-lenpen is {finished_lenpen}, but --finished dropped compares "
                "no finished hypotheses: add --finished rival, or leave out --finished-lenpen"
            )
        self.margin, self.nll_weight, self.sentence_avg = margin, nll_weight, sentence_avg
        self.search_dtype, self.search_screen = SEARCH_DTYPES[str(search_dtype)], search_screen
        self.search_words, self.finished, self.finished_lenpen = search_words, str(finished), finished_lenpen
        self.compared = search_words == 0
        self.make_constraint = getattr(task, "batch_constraint", None)

    def constraint(self, sample: Dict[str, Any]) -> Optional[BatchConstraint]:
        """The task's successor function for this batch, if the task has one."""
        return self.make_constraint(sample["net_input"]["src_tokens"]) if self.make_constraint else None

    def forward(self, model, sample: Dict[str, Any], reduce: bool = True):
        """The summed loss, its sample size, and the values to log."""
        score = prefix_score(model)
        target = _checked_target(sample, self.padding_idx)
        beam = self.curriculum.beam(updates_before(model)) if model.training else self.curriculum.final
        options = SearchOptions(
            beam=beam,
            margin=self.margin,
            dtype=self.search_dtype,
            screen=self.search_screen,
            search_words=self.search_words,
            finished_lenpen=self._finished_lenpen(score),
            nll=self.nll_weight > 0,
            constraint=self.constraint(sample),
            compare=model.training and not self.compared,
        )
        found = search_in_training(model, sample["net_input"], target, options)
        self._log_agreement(options, found)
        violations = found.violations
        with torch.no_grad():
            costs = self.delta(*words_since_reset(violations, target))
        margin_sum = margin_loss(found.gaps, costs, self.margin)
        loss = margin_sum
        nll_sum = margin_sum.new_zeros(())
        if found.nll is not None:
            nll_sum = found.nll
            loss = loss + self.nll_weight * nll_sum
        sample_size = target.size(0) if self.sentence_avg else sample["ntokens"]
        logged = {
            "loss": loss.detach(),
            "margin_loss": margin_sum.detach(),
            "nll_loss": nll_sum.detach(),
            "violations": violations.times.numel(),
            "searched_words": (violations.times - violations.resets + 1).sum(),
            "gold_gap": found.gaps.detach().sum(),
            "beam": beam,
            "batches": 1,
            "ntokens": sample["ntokens"],
            "nsentences": target.size(0),
            "sample_size": sample_size,
        }
        return loss, sample_size, logged

    def _log_agreement(self, options: SearchOptions, found: SearchScores) -> None:
        """Logs once, for the first batch, the agreement of the search over search words with the exact search."""
        if not options.compare:
            return
        self.compared = True
        if found.agreement is not None:
            words, sentences, kept, violators = found.agreement
            logger.info(
                f"the search looks at {words:.0f} words a sentence (--search-words {options.search_words}); in the "
                f"first {sentences} sentences the exact search keeps {kept:.2%} of its hypotheses too, and finds "
                f"{violators:.2%} of its violators"
            )

    def _finished_lenpen(self, score: PrefixScore) -> Optional[float]:
        """The length penalty by which finished hypotheses are rivals; None if they are not rivals.

        Raises:
            UserError: if the options do not fit the scorer.
        """
        if self.finished == "dropped":
            return None
        if not score.cumulative:
            raise UserError(
                f"--finished rival compares sums, but --scorer {score.name} scores the last word alone: take --scorer "
                "softmax or summed, or leave out --finished"
            )
        if not score.normalized and self.finished_lenpen != 1:
            raise UserError(
                f"--finished-lenpen is {self.finished_lenpen}, but the raw scores of --scorer {score.name} are never "
                "divided by length: leave out --finished-lenpen"
            )
        return self.finished_lenpen if score.normalized else 0.0

    @staticmethod
    def reduce_metrics(logging_outputs: List[Dict[str, Any]]) -> None:
        """Adds up the workers' sums and logs their ratios."""
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


def _checked_target(sample: Dict[str, Any], padding: int) -> Tensor:
    """The target (B, T).

    Raises:
        UserError: if the batch has no valid gold words.
    """
    target = sample.get("target")
    if target is None:
        raise UserError("beam_search_optimization needs target sentences, but the data has none: give both languages")
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
            raise UserError(f"the target of sentence {int(sample['id'][which])} (counted from 0) {reason}")
    return target
