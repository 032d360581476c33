"""The options of ``--criterion beam_search_optimization``, and their checks."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, List, NamedTuple, Optional, Tuple

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import II

from ..checkpoints import option
from ..errors import UserError
from ..search.scorer import PrefixScore
from .costs import Delta, get_delta
from .curriculum import BeamCurriculum
from .losses import Loss, get_loss

SMALLEST_BEAM = 2
"""the training beam if none is named: gold must beat its best rival after every word"""
FINISHED_BEAM = 5
"""the beam of searches for finished hypotheses if none is named"""

SEARCH_DTYPES = {"model": None, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class BeamSearchOptimizationConfig(FairseqDataclass):
    loss: str = field(
        default="margin",
        metadata={
            "help": "margin (gold against the violator), cost_margin or log_beam (gold against all on the beam), risk "
            "(expected cost of finished hypotheses), or a name of your own registered loss"
        },
    )
    train_beam: int = field(
        default=0,
        metadata={
            "help": f"beam of the search in training (at least {SMALLEST_BEAM}); 0: {SMALLEST_BEAM}, which is best for "
            f"greedy decoding and no worse with a beam, or {FINISHED_BEAM} with --loss risk"
        },
    )
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
            "greedy decoding loses less than with a large beam alone"
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
    text_cost: str = field(
        default="sentence_bleu",
        metadata={
            "help": "with --loss risk or --target oracle: cost of a hypothesis by its text: sentence_bleu or chrf (one "
            "minus it), ter, hamming, or a name of your own registered cost"
        },
    )
    text_remove_bpe: Optional[str] = field(
        default=None,
        metadata={
            "help": "how subwords are joined for --text-cost, as --remove-bpe of fairseq-generate does (sentencepiece, "
            "subword_nmt, '@@ ')",
            "argparse_const": "@@ ",
        },
    )
    risk_alpha: float = field(
        default=1.0,
        metadata={"help": "with --loss risk: factor of scores per word in the softmax over hypotheses"},
    )
    risk_reference: bool = field(
        default=False, metadata={"help": "with --loss risk: the reference is one of the hypotheses"}
    )
    target: ChoiceEnum(["reference", "oracle"]) = field(  # type: ignore[valid-type]
        default="reference",
        metadata={
            "help": "what gold is: the reference, or the hypothesis of the lowest --text-cost on the model's own beam"
        },
    )
    oracle_beam: int = field(
        default=0,
        metadata={
            "help": "with --target oracle: beam of the search for it; 0: the beam of the update, and at least "
            f"{FINISHED_BEAM}"
        },
    )
    search_dropout: ChoiceEnum(["shared", "none"]) = field(  # type: ignore[valid-type]
        default="shared",
        metadata={
            "help": "shared: the search has the dropout masks of the loss, if the model can (bso_lstm, transformer); "
            "none: it has no dropout, as decoding has none, and the model runs along gold once more"
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


class Parts(NamedTuple):
    """The objects that options choose by name or by numbers."""

    curriculum: BeamCurriculum
    delta: Delta
    loss: Loss


def checked(cfg: BeamSearchOptimizationConfig) -> Parts:
    """Checks the options, and looks up the loss and the cost that they name.

    Raises:
        UserError: for an option out of range or an unknown name.
    """
    try:
        loss = get_loss(cfg.loss)
        beam = _final_beam(cfg.loss, cfg.train_beam)
        curriculum = BeamCurriculum(cfg.initial_beam, beam, cfg.updates_per_beam, cfg.mixed_beams)
        parts = Parts(curriculum, get_delta(cfg.delta), loss)
    except ValueError as fault:
        raise UserError(f"beam_search_optimization: {fault}") from None
    for name, value, is_allowed, allowed in (
        ("--margin", cfg.margin, 0 < cfg.margin < math.inf, "above 0, and finite"),
        ("--search-screen", cfg.search_screen, cfg.search_screen >= 1, "above 0"),
        ("--risk-alpha", cfg.risk_alpha, 0 < cfg.risk_alpha < math.inf, "above 0, and finite"),
        ("--nll-weight", cfg.nll_weight, 0 <= cfg.nll_weight < math.inf, "at least 0, and finite"),
        ("--search-words", cfg.search_words, cfg.search_words >= 0, "at least 0"),
        ("--finished-lenpen", cfg.finished_lenpen, 0 <= cfg.finished_lenpen <= 10, "from 0 to 10"),
        ("--oracle-beam", cfg.oracle_beam, cfg.oracle_beam >= 0, "at least 0"),
    ):
        if not is_allowed:
            raise UserError(f"beam_search_optimization: {name} is {value}, but must be {allowed}")
    if str(cfg.finished) == "dropped" and cfg.finished_lenpen != 1:
        raise UserError(
            f"beam_search_optimization: --finished-lenpen is {cfg.finished_lenpen}, but --finished dropped compares "
            "no finished hypotheses: add --finished rival, or leave out --finished-lenpen"
        )
    _check_use(cfg, parts.loss)
    return parts


def _check_use(cfg: BeamSearchOptimizationConfig, loss: Loss) -> None:
    """Checks that no option is given that the loss would ignore.

    Raises:
        UserError: naming the option.
    """
    default = BeamSearchOptimizationConfig()
    oracle, change = str(cfg.target) == "oracle", "choose another --loss"
    if loss.over == "finished":
        ignored: Tuple[str, ...] = ("delta", "margin", "finished", "finished_lenpen", "target", "oracle_beam")
        reason = "looks at finished hypotheses"
    else:
        ignored, reason = ("risk_alpha", "risk_reference"), "looks at the beam"
        if not oracle:
            ignored, change = (
                (*ignored, "text_cost", "text_remove_bpe", "oracle_beam"),
                "choose another --loss or --target",
            )
    given = [name for name in ignored if str(getattr(cfg, name)) != str(getattr(default, name))]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UserError(
            f"beam_search_optimization: {options} has no meaning with --loss {cfg.loss}, which {reason}: leave it out, "
            f"or {change}"
        )


NOT_COMPARED = (
    *("initial_beam", "updates_per_beam", "mixed_beams", "search_dropout", "search_dtype", "search_screen"),
    "sentence_avg",
)
"""the options on which the loss of validation does not depend, but for rare ties; checkpoints do not hold the last"""


def other_options(cfg: BeamSearchOptimizationConfig, before: Any) -> List[str]:
    """The options that decide the loss of validation, and had another value before.

    Args:
        cfg: the options now.
        before: those of a checkpoint, a dict or an ``argparse.Namespace``; it may lack some, or have unknown ones.

    Returns:
        ``["--train-beam 2 (now 5)"]`` and so on.
    """
    default, names = BeamSearchOptimizationConfig(), [each.name for each in fields(cfg) if each.name[0] != "_"]
    values = {name: option(before, name, getattr(default, name)) for name in names}
    pairs = {name: (values[name], getattr(cfg, name)) for name in names if name not in NOT_COMPARED}
    pairs["train_beam"] = (_final_beam(values["loss"], values["train_beam"]), _final_beam(cfg.loss, cfg.train_beam))
    others = {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and str(pair[0]) != str(pair[1])}
    return [f"--{name.replace('_', '-')} {was} (now {now})" for name, (was, now) in others.items()]


def _final_beam(loss: str, train_beam: int) -> int:
    """The beam at the end of training. An unknown loss looks at the beam."""
    try:
        over = get_loss(loss).over
    except ValueError:
        over = "beam"
    return train_beam or (FINISHED_BEAM if over == "finished" else SMALLEST_BEAM)


def finished_lenpen(cfg: BeamSearchOptimizationConfig, score: PrefixScore) -> Optional[float]:
    """The length penalty by which finished hypotheses are rivals; None if they are not rivals.

    Raises:
        UserError: if the options do not fit the scorer.
    """
    if str(cfg.finished) == "dropped":
        return None
    if not score.cumulative:
        raise UserError(
            f"--finished rival compares sums, but --scorer {score.name} scores the last word alone: take --scorer "
            "softmax or summed, or leave out --finished"
        )
    if not score.normalized and cfg.finished_lenpen != 1:
        raise UserError(
            f"--finished-lenpen is {cfg.finished_lenpen}, but the raw scores of --scorer {score.name} are never "
            "divided by length: leave out --finished-lenpen"
        )
    return cfg.finished_lenpen if score.normalized else 0.0


def check_scorer(cfg: BeamSearchOptimizationConfig, loss: Loss, score: PrefixScore) -> None:
    """Checks that a search for finished hypotheses has whole scores.

    Raises:
        UserError: if the scorer scores the last word alone.
    """
    if score.cumulative:
        return
    if loss.over == "finished" or str(cfg.target) == "oracle":
        option = f"--loss {cfg.loss}" if loss.over == "finished" else "--target oracle"
        raise UserError(
            f"{option} compares whole hypotheses, but --scorer {score.name} scores the last word alone: take "
            "--scorer softmax or summed"
        )
