"""Decoding by the model's ``--scorer``, in fairseq's own generator."""

import logging
from collections import Counter
from typing import List, Optional, Tuple

import torch
from fairseq import utils
from fairseq.sequence_generator import EnsembleModel
from fairseq.sequence_scorer import SequenceScorer
from fairseq.tasks import TASK_REGISTRY
from torch import Tensor, nn

from ..errors import UserError
from ..search.scorer import SCORERS, PrefixScore

logger = logging.getLogger(__name__)


def prefix_score_of(model: nn.Module) -> PrefixScore:
    """The prefix score of a model; for all of fairseq's own models it is ``softmax``."""
    return getattr(model, "prefix_score", SCORERS["softmax"])


def common_prefix_score(models: List[nn.Module]) -> PrefixScore:
    """The prefix score that all models of an ensemble share.

    Raises:
        UserError: if the models have different prefix scores.
    """
    scores = [prefix_score_of(model) for model in models]
    counts = Counter(score.name for score in scores)
    if len(counts) > 1:
        *most, last = (f"{count} {name}" for name, count in counts.items())
        raise UserError(
            f"an ensemble of {', '.join(most)} and {last} models has no common score: decode with models that have "
            "the same --scorer"
        )
    return scores[0]


class UnnormalizedEnsemble(EnsembleModel):
    """Averages raw scores over models, whereas fairseq averages probabilities.

    ``f_t`` is the raw score of word ``t``. Models that score the last word alone emit the difference ``f_t - f_{t-1}``.
    The mean of differences is the difference of means, so sums telescope to the mean ``f`` of the last word.
    """

    def __init__(self, models: List[nn.Module]) -> None:
        super().__init__(models)
        self.members = [EnsembleModel([model]) for model in models]

    def forward_decoder(
        self, tokens: Tensor, encoder_outs: list, incremental_states: list, temperature: float = 1.0
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """tokens (N, t) -> mean scores (N, V) and mean attention (N, S)."""
        parts = [
            member.forward_decoder(tokens, [encoder_out], [state], temperature)
            for member, encoder_out, state in zip(self.members, encoder_outs, incremental_states)
        ]
        scores = torch.stack([score for score, _ in parts]).mean(0)  # (N, V)
        attention = [weights for _, weights in parts if weights is not None]
        return scores, torch.stack(attention).mean(0) if attention else None


class UnnormalizedScorer(SequenceScorer):
    """Scores references by the plain sum of their words' scores, whereas fairseq divides it by length.

    The sum is that of all raw scores ``f``. If the last word alone counts, differences telescope to its ``f``.
    """

    @torch.no_grad()
    def generate(self, models, sample, **kwargs) -> list:
        """One list with one hypothesis (the reference) per sentence."""
        references = super().generate(models, sample, **kwargs)
        for (reference,) in references:
            reference["score"] = reference["positional_scores"].sum()
        return references


def check_raw_scores(score: PrefixScore, models: int, args, in_training: bool) -> None:
    """Checks the options of decoding with raw scores.

    Args:
        score: the prefix score of all models.
        models: the number of models.
        args: fairseq's options of generation.
        in_training: whether the options are those of ``--eval-bleu-args``. A length penalty there gives only a warning,
            so that runs of earlier releases with such a penalty can continue.

    Raises:
        UserError: for options that would silently give wrong results, or have no effect.
    """
    temperature = getattr(args, "temperature", 1.0)
    if temperature != 1.0:
        raise UserError(
            f"--temperature is {temperature}, but the raw scores of --scorer {score.name} have no temperature: leave "
            "it at 1"
        )
    if getattr(args, "sampling_topp", -1.0) > 0:
        raise UserError(
            f"--sampling-topp is {args.sampling_topp}, but the raw scores of --scorer {score.name} are not "
            "probabilities: use --sampling-topk or --beam"
        )
    if getattr(args, "match_source_len", False):
        raise UserError(
            f"--match-source-len sets the score of </s> to 0, but the raw scores of --scorer {score.name} may be "
            "below 0: leave out --match-source-len"
        )
    if getattr(args, "score_reference", False) and models > 1:
        raise UserError(
            f"--score-reference accepts one model with --scorer {score.name}, but got {models} models: score with one "
            "model at a time"
        )
    fault = unused_length_penalty(score, getattr(args, "lenpen", 1.0), "--lenpen")
    if fault and not in_training:
        raise UserError(fault)
    if fault:
        logger.warning(f"--eval-bleu-args: {fault}")


def unused_length_penalty(score: PrefixScore, value: float, option: str) -> Optional[str]:
    """The message about a length penalty without effect; None if scores are divided by length or the penalty is 1."""
    if score.normalized or value == 1:
        return None
    return (
        f"{option} is {value}, but the raw scores of --scorer {score.name} are never divided by length, so it has no "
        f"effect: leave out {option}"
    )


def warn_of_undivided_sums(args) -> None:
    """Warns of the effect of ``--unnormalized`` on a model with probabilities: fairseq allows it, but few want it."""
    if not getattr(args, "unnormalized", False) or getattr(args, "score_reference", False):
        return
    lenpen = getattr(args, "lenpen", 1.0)
    unused = "" if lenpen == 1 else f" and ignores --lenpen {lenpen}"
    logger.warning(
        "--unnormalized ranks hypotheses of a softmax model by the plain sum of their log-probabilities, which favours "
        f"short hypotheses{unused}: leave out --unnormalized, which is for models with --scorer summed or unnormalized"
    )


def check_commands_options(score: PrefixScore, cfg) -> None:
    """Checks the decoding options of ``fairseq-generate`` or ``fairseq-interactive``, if the task does not check them.

    Args:
        score: the prefix score of the model.
        cfg: fairseq's config of the command.

    Raises:
        UserError: for options that would silently give wrong results, or have no effect.
    """
    path, task = getattr(cfg.common_eval, "path", None), str(getattr(cfg.task, "_name", ""))
    if not path or getattr(TASK_REGISTRY.get(task), "looks_at_scorers", False):
        return  # fairseq's hub gives no path; its decoding options come later
    if score.normalized:
        warn_of_undivided_sums(cfg.generation)
        return
    paths = utils.split_paths(path)
    check_raw_scores(score, len(paths), cfg.generation, in_training=False)
    if getattr(cfg.generation, "score_reference", False):
        return
    if not getattr(cfg.generation, "unnormalized", False):
        raise UserError(
            f"--task {task} divides scores by length, but raw scores of --scorer {score.name} must not be divided: add "
            "--unnormalized, or use --task bso_translation"
        )
    if len(paths) > 1:
        raise UserError(
            f"--task {task} averages probabilities over {len(paths)} models, but --scorer {score.name} has no "
            "probabilities: use --task bso_translation"
        )
