"""`fairseq-bso prune`: takes the smallest weights out of a checkpoint, once."""

import argparse
from pathlib import Path
from typing import Any, Dict, Tuple

from ..checkpoints import distinct_parameters, load_state, model_class
from ..errors import BadInput
from ..files import atomic_write
from ..logs import show_logs

NAME = "prune"
HELP = "Set the smallest weights of a checkpoint to zero, and say what is left of each class."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, where the pruned one goes, and which weights go."""
    parser.add_argument("checkpoint", help="of fairseq-train")
    parser.add_argument("output", help="the pruned checkpoint to write")
    parser.add_argument("--amount", type=float, required=True, help="share of the weights that go, from 0 to below 1")
    parser.add_argument(
        "--scheme",
        default="class_blind",
        help="class_blind, class_uniform or class_distribution (default: %(default)s)",
    )
    parser.add_argument(
        "--exclude",
        default="",
        help="classes or parameters that stay whole, separated by commas; name those that training froze too, which "
        "the checkpoint does not say",
    )
    parser.add_argument("--picture", help="draw what is kept of each class into this file (needs matplotlib)")
    parser.add_argument("--user-dir", help="folder with plugins of your own that the checkpoint needs")


def run(arguments: argparse.Namespace) -> int:
    """Writes the checkpoint and prints the table. Returns the exit status.

    Raises:
        BadInput: for a file that is no checkpoint or cannot be written, and for options that do not fit.
    """
    from fairseq import utils

    from .schemes import Schedule, get_scheme
    from .weight_classes import ZERO_BY_CHANCE, WeightClasses, class_namer

    show_logs()
    utils.import_user_module(arguments)
    try:
        schedule = Schedule("one_shot", arguments.amount)
        get_scheme(arguments.scheme)
    except ValueError as fault:
        raise BadInput(f"fairseq-bso prune: {fault}") from None
    state = load_state(arguments.checkpoint)
    classes = WeightClasses(distinct_parameters(state), class_namer(model_class(state)), arguments.exclude, "--exclude")
    for weight in classes.weights:
        if not bool(weight.isfinite().all()):
            raise BadInput(
                f"{arguments.checkpoint} holds NaN or infinite weights; the training diverged: prune an earlier "
                "checkpoint"
            )
    count = schedule.count(0, classes.total)
    before = classes.zeros()
    already = sum(int(mask.sum()) for mask in before)
    if already > max(count, ZERO_BY_CHANCE * classes.total):
        raise BadInput(
            f"{arguments.checkpoint}: {already / classes.total:.2%} of the weights are zero already, more than "
            f"--amount {arguments.amount}: give a larger amount, or the checkpoint before it was pruned"
        )
    before = before if already <= count else classes.nothing()
    gone, thresholds = classes.choose(arguments.scheme, before, count)
    classes.mark(gone)
    state["last_optimizer_state"] = None  # it belongs to the weights before
    if arguments.picture:
        _draw(classes.kept(gone), Path(arguments.picture))
    _write(state, Path(arguments.output))
    print(classes.table(gone, thresholds))
    same = ["--prune-amount", "--prune-scheme", *(["--prune-exclude"] if arguments.exclude else [])]
    print(f"{arguments.output}: train on from it with --finetune-from-model and the same {', '.join(same)}")
    return 0


def _write(state: Dict[str, Any], path: Path) -> None:
    import torch

    try:
        with atomic_write(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as fault:  # torch's own, where the disk is full
        raise BadInput(f"{path} cannot be written: {getattr(fault, 'strerror', None) or fault}") from None


def _draw(kept: Dict[str, Tuple[int, int]], path: Path) -> None:
    """Bars: the weights of each class, and what is kept of them.

    Raises:
        BadInput: without matplotlib, or if the file cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        raise BadInput("--picture needs matplotlib: pip install matplotlib, or leave it out") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 0.9 + 0.4 * len(kept)))
    names = list(kept)
    axes.barh(names, [size for _, size in kept.values()], color="#d9d9d9", label="pruned")
    axes.barh(names, [left for left, _ in kept.values()], color="#1f77b4", label="kept")
    for place, (left, size) in enumerate(kept.values()):
        axes.text(size, place, f" {left / size:.0%}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("weights")
    axes.legend(frameon=False, loc="best", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    try:
        with atomic_write(path) as file:
            figure.savefig(file, dpi=150, format=path.suffix[1:] or "png")
    except (OSError, ValueError) as fault:
        raise BadInput(f"--picture {path} cannot be written: {fault}") from None
    finally:
        pyplot.close(figure)
