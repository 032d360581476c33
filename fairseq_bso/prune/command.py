"""`fairseq-bso prune`: prunes the weights or the units of a checkpoint once."""

import argparse
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

from ..checkpoints import config_of, distinct_parameters, load_state, model_class, option
from ..errors import UserError
from ..files import atomic_write, claim
from ..logs import show_logs
from ..user_dirs import import_user_dir
from .schemes import PruningSchedule, get_scheme
from .unit_classes import UnitClasses, unit_sets_of
from .weight_classes import AlreadyPruned, Masks, WeightClasses, class_namer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("checkpoint", help="checkpoint of fairseq-train")
    parser.add_argument("output", help="the pruned checkpoint to write")
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--amount", type=float, help="share of the weights to prune, from 0 to below 1")
    kinds.add_argument(
        "--units",
        type=float,
        metavar="AMOUNT",
        help="share of the units of every layer to prune, from 0 to below 1: all rows and columns of a unit, smallest "
        "norm first (bso_lstm); `fairseq-bso export` leaves them out",
    )
    parser.add_argument(
        "--scheme",
        default="class_blind",
        help="class_blind, class_uniform or class_distribution (default: %(default)s)",
    )
    parser.add_argument(
        "--exclude",
        default="",
        help="classes or parameters (with --units: sets of units) that are not pruned, separated by commas. Include "
        "the parameters that training froze: the checkpoint does not record them",
    )
    picture = "file for a picture of the weights or units that each class keeps (needs matplotlib)"
    parser.add_argument("--picture", help=picture)
    parser.add_argument("--user-dir", help="folder with plugins of your own that the checkpoint needs")


def run(arguments: argparse.Namespace) -> int:
    """Writes the pruned checkpoint and prints the table. Returns the exit status.

    Raises:
        UserError: for a file that is no checkpoint or cannot be written, and for options that do not fit.
    """
    show_logs()
    import_user_dir(arguments)
    schedule = _schedule(arguments)
    with claim(Path(arguments.output), "output"):
        _prune(arguments, schedule)
    return 0


def _prune(arguments: argparse.Namespace, schedule: PruningSchedule) -> None:
    """Prunes into a file that no other process writes."""
    state = load_state(arguments.checkpoint)
    classes, masks = (_units if arguments.units is not None else _weights)(state, schedule, arguments)
    classes.write_zero_marks(masks.pruned)
    state["last_optimizer_state"] = None  # it belongs to the weights before pruning
    if arguments.picture:
        what = "weights" if arguments.units is None else "units"
        _draw(classes.kept(masks.pruned), what, Path(arguments.picture))
    _write(state, Path(arguments.output))
    print(classes.table(masks))
    same = ["--prune-amount", "--prune-scheme"] if arguments.units is None else ["--prune-units"]
    same += ["--prune-exclude"] if arguments.exclude else []
    print(f"{arguments.output}: continue its training with --finetune-from-model and the same {', '.join(same)}")


def _schedule(arguments: argparse.Namespace) -> PruningSchedule:
    """Checks --amount or --units, and --scheme, before the checkpoint is loaded."""
    if arguments.units is not None and arguments.scheme != "class_blind":
        raise UserError(
            f"fairseq-bso prune: --scheme {arguments.scheme} chooses weights, but --units prunes the same share of the "
            "units of every layer: leave out one of them"
        )
    try:
        get_scheme(arguments.scheme)
        return PruningSchedule("one_shot", arguments.amount if arguments.units is None else arguments.units)
    except ValueError as error:
        raise UserError(f"fairseq-bso prune: {error}") from None


def _check_finite(weights: Sequence[Any], arguments: argparse.Namespace) -> None:
    """Raises UserError if a weight is not finite."""
    if not all(bool(weight.isfinite().all()) for weight in weights):
        raise UserError(
            f"{arguments.checkpoint} holds NaN or infinite weights; the training diverged: prune an earlier checkpoint"
        )


def _weights(
    state: Dict[str, Any], schedule: PruningSchedule, arguments: argparse.Namespace
) -> Tuple[WeightClasses, Masks]:
    """The weights of a checkpoint, and the masks of --amount. Raises UserError if more are pruned already."""
    classes = WeightClasses(distinct_parameters(state), class_namer(model_class(state)), arguments.exclude, "--exclude")
    _check_finite(classes.weights, arguments)
    masks = classes.choose_masks(arguments.scheme, schedule.count(0, classes.total))
    if isinstance(masks, AlreadyPruned):
        raise UserError(
            f"{arguments.checkpoint}: {masks.zeros / classes.total:.2%} of the weights are zero already, more than "
            f"--amount {arguments.amount}: give a larger amount, or the checkpoint before pruning"
        )
    return classes, masks


def _units(
    state: Dict[str, Any], schedule: PruningSchedule, arguments: argparse.Namespace
) -> Tuple[UnitClasses, Masks]:
    """The units of a checkpoint, and the masks of --units. Raises UserError if more are pruned already."""
    parameters = distinct_parameters(state)
    residual = bool(option(config_of(state, "model"), "residual", False))
    sets = unit_sets_of(model_class(state), parameters, residual, "--units")
    classes = UnitClasses(parameters, sets, exclude=arguments.exclude, option="--exclude")
    _check_finite(classes.weights, arguments)
    classes.check_amount(schedule.amount, "--units")
    zeros = classes.zeros()
    masks = classes.extend_masks(zeros, classes.counts(schedule, 0))
    for units, have, want in zip(classes.sets, classes.pruned_counts(zeros), classes.counts(schedule, 0)):
        if have > want:
            raise UserError(
                f"{arguments.checkpoint}: {have} of the {units.size} units of {units.name} are zero already, more than "
                f"--units {arguments.units}: give a larger amount, or the checkpoint before pruning"
            )
    return classes, masks


def _write(state: Dict[str, Any], path: Path) -> None:
    import torch

    try:
        with atomic_write(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # a full disk is a RuntimeError of torch
        raise UserError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from None


def _draw(kept: Dict[str, Tuple[int, int]], what: str, path: Path) -> None:
    """Draws a bar for each class: its weights or units, and how many are kept. Raises UserError where that fails."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--picture needs matplotlib: pip install matplotlib, or leave out --picture") from None
    figure = Figure(figsize=(7, 0.9 + 0.4 * len(kept)))
    axes = figure.subplots()
    bars = axes.barh(list(kept), [size for _, size in kept.values()], color="#d9d9d9", label="pruned")
    axes.barh(list(kept), [count for count, _ in kept.values()], color="#1f77b4", label="kept")
    axes.bar_label(bars, [f" {count / size:.0%}" for count, size in kept.values()], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(what)
    axes.legend(frameon=False, loc="best", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    try:
        with atomic_write(path) as file:
            figure.savefig(file, dpi=150, format=path.suffix[1:] or "png")
    except (OSError, ValueError) as error:
        raise UserError(f"--picture {path} cannot be written: {error}") from None
