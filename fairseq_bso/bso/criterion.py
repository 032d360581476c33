"""``--criterion beam_search_optimization`` (Wiseman & Rush 2016), with a choice of losses over the same search."""

import logging
import math
from functools import partial
from typing import Any, Dict, List, NamedTuple, Optional

import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion, register_criterion
from torch import Tensor

from ..compat import metrics
from ..errors import UserError, counted
from ..models.any_model import prefix_score
from ..models.training_search import search_then_score
from ..search.constraints import BatchConstraint
from ..search.finished_scores import FinishedScores, finished_scores
from ..search.finished_search import finished_search
from ..search.scorer import PrefixScore
from ..search.segments import SearchOptions, SearchScores, score_found, search_along_gold
from .batch_checks import beam_of_update, checked_costs, checked_target
from .costs import words_since_reset
from .losses import NBestLists, OnBeam
from .options import (
    FINISHED_BEAM,
    SEARCH_DTYPES,
    BeamSearchOptimizationConfig,
    check_scorer,
    checked,
    finished_lenpen,
    other_options,
)
from .oracle import gold_words, with_longer_targets, with_oracle
from .text_costs import Compared, TextCosts, Words

__all__ = ["BeamSearchOptimizationConfig", "BeamSearchOptimizationCriterion"]

logger = logging.getLogger(__name__)


class Result(NamedTuple):
    """The loss of a batch without token NLL."""

    loss: Tensor
    """()"""
    nll: Optional[Tensor]
    """() if it is wanted"""
    logged: Dict[str, Any]


@register_criterion("beam_search_optimization", dataclass=BeamSearchOptimizationConfig)
class BeamSearchOptimizationCriterion(FairseqCriterion):
    """Sums a loss over what the model's own beam search finds.

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
        loss: str = "margin",
        text_cost: str = "sentence_bleu",
        text_remove_bpe: Optional[str] = None,
        risk_alpha: float = 1.0,
        risk_reference: bool = False,
        target: str = "reference",
        oracle_beam: int = 0,
        search_dropout: str = "shared",
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "task", "__class__")}
        super().__init__(task)
        self.cfg = BeamSearchOptimizationConfig(**given)
        self.curriculum, self.delta, self.loss = checked(self.cfg)
        self.text_costs: Optional[TextCosts] = None
        if self.loss.over == "finished" or str(target) == "oracle":
            try:
                self.text_costs = TextCosts(text_cost, task, text_remove_bpe)
            except ValueError as fault:
                raise UserError(f"beam_search_optimization: {fault}") from None
        # Whether there is no more need to compare the search with the exact one.
        self.agreement_logged = search_words == 0 or self.loss.over == "finished"
        self._search = partial(search_then_score, dropout=str(search_dropout) == "shared")

    def constraint(self, sample: Dict[str, Any]) -> Optional[BatchConstraint]:
        """The task's constraint for this batch, if the task has one."""
        make = getattr(self.task, "batch_constraint", None)
        return make(sample["net_input"]["src_tokens"], sample.get("target")) if make else None

    def forward(self, model, sample: Dict[str, Any], reduce: bool = True):
        """The summed loss, its sample size, and the values to log."""
        score = prefix_score(model)
        check_scorer(self.cfg, self.loss, score)
        checked_target(sample, self.padding_idx, self.task.target_dictionary.eos())
        options, oracle_log = self._options(model, sample, score), {}
        if str(self.cfg.target) == "oracle":
            assert self.text_costs is not None
            oracle_options = options._replace(beam=self.cfg.oracle_beam or max(options.beam, FINISHED_BEAM))
            sample, oracle_log = with_oracle(model, sample, self.padding_idx, self.text_costs, oracle_options)
        target, tokens = sample["target"], sample["ntokens"]
        if self.loss.over == "finished":
            found = self._over_finished(model, sample, options)
        else:
            found = self._over_beam(model, sample, options)
        loss, nll_sum = found.loss, found.loss.new_zeros(())
        if found.nll is not None:
            nll_sum = found.nll
            loss = loss + self.cfg.nll_weight * nll_sum
        sample_size = target.size(0) if self.cfg.sentence_avg else tokens
        logged = {
            "loss": loss.detach(),
            "margin_loss" if self.cfg.loss == "margin" else "search_loss": found.loss.detach(),
            "nll_loss": nll_sum.detach(),
            "beam": options.beam,
            "batches": 1,
            "ntokens": tokens,
            "nsentences": target.size(0),
            "sample_size": sample_size,
            **found.logged,
            **oracle_log,
        }
        return loss, sample_size, logged

    def _options(self, model, sample: Dict[str, Any], score: PrefixScore) -> SearchOptions:
        """The options of this batch's search."""
        cfg = self.cfg
        return SearchOptions(
            beam=beam_of_update(self.curriculum, model),
            margin=cfg.margin,
            dtype=SEARCH_DTYPES[str(cfg.search_dtype)],
            screen=cfg.search_screen,
            search_words=cfg.search_words,
            finished_lenpen=finished_lenpen(cfg, score),
            nll=cfg.nll_weight > 0,
            constraint=self.constraint(sample),
            rivals=self.loss.over == "beam",
            compare=model.training and not self.agreement_logged,
            end_at_limit=self.loss.over == "finished",
            whole_gold=cfg.nll_weight > 0 or cfg.risk_reference,
        )

    def _over_beam(self, model, sample: Dict[str, Any], options: SearchOptions) -> Result:
        """A loss over violators, or over all on the beam."""
        target = sample["target"]
        search, score = partial(search_along_gold, options=options), partial(score_found, options=options)
        found: SearchScores = self._search(model, sample["net_input"], target, search, score)
        self._log_agreement(options, found)
        with torch.no_grad():
            costs = self.delta(*words_since_reset(found.rivals, target))
        costs = checked_costs(costs, found.gaps, self.cfg.delta)
        on_beam = (_by_event if options.rivals else _one_per_row)(found, costs, options.margin)
        loss = self.loss.function(on_beam)
        violations = found.violations
        logged = {
            "violations": violations.times.numel(),
            "searched_words": (violations.times - violations.resets + 1).sum(),
            "gold_gap": violations.gaps.sum() if options.rivals else found.gaps.detach().sum(),
        }
        return Result(loss, found.nll, logged)

    def _over_finished(self, model, sample: Dict[str, Any], options: SearchOptions) -> Result:
        """A loss over finished hypotheses. It is a sum over sentences, scaled by the mean number of words of one."""
        net_input, target = with_longer_targets(model, sample["net_input"], sample["target"], self.padding_idx)
        search, score = partial(finished_search, options=options), partial(finished_scores, options=options)
        found: FinishedScores = self._search(model, net_input, target, search, score)
        hypotheses = self._hypotheses(found, sample, gold_words(target, self.padding_idx))
        scale = 1.0 if self.cfg.sentence_avg else sample["ntokens"] / target.size(0)
        best = hypotheses.costs.masked_fill(~hypotheses.alive, torch.inf).amin(1)
        logged = {
            "hypotheses": (found.finished.lengths > 0).sum(),
            "best_cost": best.masked_fill(best == torch.inf, 0).sum(),
        }
        return Result(scale * self.loss.function(hypotheses), found.nll, logged)

    def _hypotheses(self, found: FinishedScores, sample: Dict[str, Any], golds: List[Words]) -> NBestLists:
        """The finished hypotheses with their costs; with ``--risk-reference`` gold too."""
        assert self.text_costs is not None
        source = sample["net_input"]["src_tokens"]
        costs = self.text_costs.of_finished(found.finished, golds, source).to(found.scores.device)
        parts = [found.scores, found.finished.lengths, costs, found.finished.lengths > 0]
        if self.cfg.risk_reference:
            gold_costs = self.text_costs([Compared(*row) for row in zip(golds, golds, map(tuple, source.tolist()))])
            lengths = found.finished.lengths.new_tensor([len(words) for words in golds])
            gold = [found.gold, lengths, costs.new_tensor(gold_costs), torch.ones_like(lengths, dtype=torch.bool)]
            parts = [torch.cat([part, column.unsqueeze(1)], 1) for part, column in zip(parts, gold)]
        return NBestLists(*parts, self.cfg.risk_alpha)

    def _log_agreement(self, options: SearchOptions, found: SearchScores) -> None:
        """Logs once, for the first batch, the agreement of the search over search words with the exact search."""
        if not options.compare:
            return
        self.agreement_logged = True
        if found.agreement is not None:
            words, sentences, kept, violators = found.agreement
            logger.info(
                f"the search looks at {words:.0f} words a sentence (--search-words {options.search_words}); in the "
                f"first {counted(sentences, 'sentence')} the exact search keeps {kept:.2%} of its hypotheses too, and "
                f"finds {violators:.2%} of its violators"
            )

    def not_logged(self) -> Dict[str, str]:
        """The metrics that cross entropy or another loss or target logs and this one not, each with what to do."""
        instead = "give loss, or bleu with --eval-bleu"
        missing = {"accuracy": instead}
        if self.cfg.nll_weight == 0:
            missing["nll_loss"] = missing["ppl"] = f"add --nll-weight, or {instead}"
        own, others = _OF_VIOLATIONS, _OF_FINISHED
        if self.loss.over == "finished":
            own, others = others, own
        logged, other = ("margin_loss", "search_loss") if self.cfg.loss == "margin" else ("search_loss", "margin_loss")
        missing.update(dict.fromkeys([other, *others], f"--loss {self.cfg.loss} logs {', '.join([logged, *own])}"))
        if str(self.cfg.target) != "oracle":
            missing.update(dict.fromkeys(_OF_ORACLES, f"only --target oracle has oracles; {instead}"))
        return missing

    def other_losses(self, before: Any) -> List[str]:
        """The options of an earlier criterion with another value, which decides the loss of validation."""
        return other_options(self.cfg, before)

    @staticmethod
    def reduce_metrics(logging_outputs: List[Dict[str, Any]]) -> None:
        """Adds up the workers' sums and logs their ratios."""
        total = {key: sum(float(output.get(key, 0)) for output in logging_outputs) for key in _SUMS}
        known = set().union(*logging_outputs)
        _log_ratio("loss", total["loss"], total["sample_size"], 4)
        for name in known & {"margin_loss", "search_loss"}:
            _log_ratio(name, total[name], total["sample_size"], 4)
        if total["nll_loss"] > 0:
            _log_ratio("nll_loss", total["nll_loss"] / math.log(2), total["ntokens"], 3)
            metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["nll_loss"].avg))
        if "oracles" in known:
            _log_ratio("oracles", total["oracles"], total["nsentences"], 3)
            _log_ratio("oracle_cost", total["oracle_cost"], total["oracles"], 4)
        _log_ratio("beam", total["beam"], total["batches"], 1)
        if "hypotheses" in known:
            _log_ratio("hypotheses", total["hypotheses"], total["nsentences"], 2)
            _log_ratio("best_cost", total["best_cost"], total["nsentences"], 4)
        else:
            _log_ratio("violations_per_token", total["violations"], total["ntokens"], 4)
            _log_ratio("segment_length", total["searched_words"], total["violations"], 2)
            _log_ratio("gold_gap", total["gold_gap"], total["violations"], 3)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """All logged values are sums."""
        return True


_OF_VIOLATIONS = ["violations_per_token", "segment_length", "gold_gap"]
_OF_FINISHED = ["hypotheses", "best_cost"]
_OF_ORACLES = ["oracles", "oracle_cost"]
_SUMS = (
    "loss margin_loss search_loss nll_loss violations searched_words gold_gap hypotheses best_cost oracles "
    "oracle_cost beam batches ntokens nsentences sample_size"
).split()


def _log_ratio(name: str, total: float, count: float, digits: int) -> None:
    """Logs ``total / count``, weighted by ``count``; 0 for none."""
    metrics.log_scalar(name, total / count if count > 0 else 0.0, count, round=digits)


def _one_per_row(found: SearchScores, costs: Tensor, margin: float) -> OnBeam:
    """Every violator in a row of its own."""
    gaps, costs = found.gaps.unsqueeze(1), costs.unsqueeze(1)
    return OnBeam(gaps, costs, torch.ones_like(gaps, dtype=torch.bool), margin)


def _by_event(found: SearchScores, costs: Tensor, margin: float) -> OnBeam:
    """The rivals (M,) as rows (E, W): those of the same event are in one row."""
    _, event, counts = torch.unique(found.events, return_inverse=True, return_counts=True)
    width = int(counts.max()) if counts.numel() else 1
    order = event.argsort(stable=True)
    rank = torch.arange(event.numel(), device=event.device) - (counts.cumsum(0) - counts)[event[order]]
    places = event[order] * width + rank
    shape = (counts.numel(), width)

    def rows(values: Tensor) -> Tensor:
        empty = values.new_zeros(counts.numel() * width)
        return empty.index_copy(0, places, values[order]).view(shape)

    return OnBeam(rows(found.gaps), rows(costs.to(found.gaps.dtype)), rows(torch.ones_like(event)).bool(), margin)
