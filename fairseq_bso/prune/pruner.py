"""What a task calls around the optimizer step. Pruning, on a task of one's own in one line:

    register_pruned_task("language_modeling")  # --task pruned_language_modeling

or, with a class of one's own, ``class MyTask(PruningMixin, LanguageModelingTask)`` whose config inherits PruningConfig.
"""

import logging
import math
from dataclasses import dataclass, field
from typing import Any, List, Optional, Tuple

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.distributed import utils as distributed_utils
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY, register_task
from omegaconf import II
from torch import Tensor, nn

from ..compat import metrics
from ..errors import BadInput
from .optimizer_state import SQUARES, keeps_zeros, masters_of, moments_of
from .schemes import Schedule, get_scheme
from .weight_classes import ZERO_BY_CHANCE, WeightClasses, class_namer, named_parameters

logger = logging.getLogger(__name__)

LIFTED, LIFT_EVERY = 1e-10, 100  # such a square, and updates: a decay of 0.9, the quickest in use, then leaves 3e-15


@dataclass
class PruningConfig(FairseqDataclass):
    """The options of pruning, for the config of a task to inherit."""

    prune_amount: float = field(
        default=0.0, metadata={"help": "share of the weights that pruning takes, from 0 (no pruning) to below 1"}
    )
    prune_scheme: str = field(
        default="class_blind",
        metadata={
            "help": "which weights go: the smallest of all (class_blind), of each class (class_uniform), or measured "
            "by the deviation of their class (class_distribution)"
        },
    )
    prune_schedule: str = field(
        default="one_shot",
        metadata={
            "help": "when they go: at --prune-start (one_shot), or from there to --prune-end: gradual, iterative"
        },
    )
    prune_start: int = field(default=0, metadata={"help": "update after which pruning starts; 0: before the first"})
    prune_end: int = field(default=0, metadata={"help": "update at which gradual and iterative reach the amount"})
    prune_every: int = field(
        default=100, metadata={"help": "updates from one change of gradual, iterative to the next"}
    )
    prune_exclude: str = field(
        default="",
        metadata={"help": "classes or parameters that stay whole, separated by commas, with * for any letters"},
    )
    ddp_backend: Any = II("distributed_training.ddp_backend")
    zero_sharding: Any = II("distributed_training.zero_sharding")
    use_bmuf: Any = II("optimization.use_bmuf")
    store_ema: Any = II("ema.store_ema")
    model_parallel_size: Any = II("common.model_parallel_size")
    pipeline_model_parallel: Any = II("distributed_training.pipeline_model_parallel")


def make_pruner(cfg: Any) -> Optional["Pruner"]:
    """The Pruner that a task's config asks for, None where it asks for none.

    Raises:
        BadInput: for options that do not fit, and for training that keeps its weights where pruning cannot follow.
    """
    # First this one alone: a model that is loaded need not come with the groups of options the others point into.
    if getattr(cfg, "prune_amount", 0) == 0:
        return None
    options = {name: getattr(cfg, name, one.default) for name, one in PruningConfig.__dataclass_fields__.items()}
    try:
        get_scheme(options["prune_scheme"])
        schedule = Schedule(
            options["prune_schedule"],
            options["prune_amount"],
            options["prune_start"],
            options["prune_end"],
            options["prune_every"],
        )
    except ValueError as fault:
        raise BadInput(f"pruning (--prune-...): {fault}") from None
    for option, usual, what in (
        ("ddp_backend", ("legacy_ddp", "no_c10d", "pytorch_ddp", "c10d"), "no worker has whole parameters to rank"),
        ("zero_sharding", ("none",), "each worker has the optimizer's state of some parameters only"),
        ("model_parallel_size", (1,), "no worker has whole parameters to rank"),
        ("pipeline_model_parallel", (False,), "no device has all weights to rank"),
        ("use_bmuf", (False,), "weights are replaced by an average in which pruned ones come back"),
        ("store_ema", (False,), "the average that is stored would not be pruned"),
    ):
        value = getattr(options[option], "value", options[option])
        if value not in usual and not str(value).startswith("${"):
            flag = "--" + option.replace("_", "-")
            raise BadInput(
                f"--prune-amount cannot be used with {flag} {value}: {what}. Leave out {flag}, or prune the finished "
                "checkpoint (fairseq-bso prune)"
            )
    return Pruner(schedule, options["prune_scheme"], options["prune_exclude"])


class Pruner:
    """Takes weights away at the updates of a schedule and keeps them away.

    It needs no file of its own: the zeros of a checkpoint and its number of updates say what is gone.

    Args:
        schedule: how much is gone when.
        scheme: which weights go.
        exclude: what stays whole.
    """

    def __init__(self, schedule: Schedule, scheme: str, exclude: str) -> None:
        self.schedule, self.scheme, self.exclude = schedule, scheme, exclude
        self.classes: Optional[WeightClasses] = None
        self.gone: List[Tensor] = []
        self.keep: List[Tensor] = []
        self.count = 0
        self.optimizer: Any = None
        self.masters: List[Tuple[int, Tensor]] = []  # (place of the weight, its float32 copy)
        self.keeps_zeros = False  # whether the optimizer does, given gradients from mask_gradients
        self.lifted: Optional[int] = None  # the update of the last _lift_squares since the masks changed

    @property
    def share(self) -> float:
        """The share of weights that is gone."""
        return self.count / self.classes.total if self.classes is not None else 0.0

    def before_step(self, model: nn.Module, optimizer: Any, update: int) -> None:
        """Before a forward pass, `update` updates after the start: at the first of a run, finds out what is gone."""
        if self.classes is not None:
            return
        model = _unwrapped(model)
        if _workers() > 1 and any(hasattr(one, "expert") for one in model.parameters()):
            raise BadInput(
                "--prune-amount cannot be used with --base-layers on several workers: each has experts of its own. "
                "Train on one worker, or prune the finished checkpoint (fairseq-bso prune)"
            )
        self.classes = WeightClasses(named_parameters(model), class_namer(model), self.exclude)
        self.gone = self.classes.nothing()
        count = self.schedule.count(update, self.classes.total)
        zeros = self.classes.zeros()
        already = sum(int(mask.sum()) for mask in zeros)
        # With --amp a run may have been stopped after a step that was skipped for its overflow, pruned for the next.
        if already and already in (count, self.schedule.count(update + 1, self.classes.total)):
            self._set(zeros, None, optimizer, update, "found in the checkpoint")
        else:
            if already > max(count, ZERO_BY_CHANCE * self.classes.total):
                self._warn_of_zeros(already, count, update)
            if count == 0:
                return
            before = zeros if already <= count else self.classes.nothing()
            self._set(*self.classes.choose(self.scheme, before, count), optimizer, update, "pruned")
        self._apply(optimizer)

    def _warn_of_zeros(self, already: int, count: int, update: int) -> None:
        """The model was pruned before, and not all that went stays away."""
        assert self.classes is not None
        amount = math.ceil(1e4 * (already - 0.49) / self.classes.total) / 1e4  # of which the count is rounded
        advice = f"a --prune-amount of {amount} or more with --prune-schedule one_shot --prune-start 0 keeps them"
        logger.warning(
            f"{already:,} of {self.classes.total:,} weights are zero, but at update {update} pruning takes {count:,}: "
            f"the others may change again ({advice})"
        )

    def mask_gradients(self) -> None:
        """After a backward pass: what is gone has no gradient, so that neither clipping nor momentum knows of it."""
        if self.classes is None or self.count == 0:
            return
        for weight, keep in zip(self.classes.weights, self.keep):
            if weight.grad is None:
                continue
            if weight.grad.is_sparse:
                self.keeps_zeros = False
            else:
                weight.grad.mul_(keep)

    def after_step(self, optimizer: Any, updates: int) -> None:
        """After the optimizer step that was number `updates`, counted from 1."""
        if self.classes is None:
            return
        count = self.schedule.count(updates, self.classes.total)
        if count > self.count:
            choice = self.classes.choose(self.scheme, self.gone, count)
            self._set(*choice, optimizer, updates, "pruned")
            self._apply(optimizer)
        elif not (self.keeps_zeros and optimizer is self.optimizer):
            self._apply(optimizer)
        if self.count and self.keeps_zeros and (self.lifted is None or updates - self.lifted >= LIFT_EVERY):
            self._lift_squares(optimizer)
            self.lifted = updates

    def mark(self) -> None:
        """Before a checkpoint is written: makes what is gone tell from weights that happen to be zero."""
        if self.classes is not None:
            self.classes.mark(self.gone)

    @torch.no_grad()
    def _set(self, gone: List[Tensor], thresholds, optimizer: Any, updates: int, done: str) -> None:
        assert self.classes is not None
        self.gone = _as_on_first_worker(gone)
        self.keep = [_factor(mask, weight) for mask, weight in zip(self.gone, self.classes.weights)]
        self.count = sum(int(mask.sum()) for mask in self.gone)
        self._find_masters(optimizer)
        for place, _, moments in moments_of(optimizer, self.classes.weights, self.masters):
            moments.mul_(self.keep[place])
        self.lifted = None
        if distributed_utils.get_global_rank() == 0:
            table = self.classes.table(self.gone, thresholds)
            logger.info(f"{done} at update {updates}: {self.share:.2%} of the weights, {self.scheme}\n{table}")

    @torch.no_grad()
    def _apply(self, optimizer: Any) -> None:
        """Zeroes what is gone, in the model and in the float32 weights from which a 16-bit model is copied."""
        assert self.classes is not None
        if self.count == 0:
            return
        if optimizer is not self.optimizer:
            self._find_masters(optimizer)
        for weight, keep in zip(self.classes.weights, self.keep):
            weight.mul_(keep)
        for place, master in self.masters:
            master.mul_(self.keep[place])

    @torch.no_grad()
    def _lift_squares(self, optimizer: Any) -> None:
        """Has the optimizer remember a small number as the square of the gradients of what is gone. It divides their
        mean by its root, which stays zero; but of a zero, MKL takes the root thirty times as slowly."""
        assert self.classes is not None
        for place, name, moments in moments_of(optimizer, self.classes.weights, self.masters):
            if name in SQUARES and moments.device.type == "cpu":
                moments.masked_fill_(self.gone[place], LIFTED)

    def _find_masters(self, optimizer: Any) -> None:
        assert self.classes is not None
        self.optimizer = optimizer
        self.masters = list(masters_of(optimizer, self.classes.weights))
        self.keeps_zeros = keeps_zeros(optimizer)


def _factor(mask: Tensor, weight: Tensor) -> Tensor:
    """Zero where the mask is True, else one. A CPU multiplies fastest by numbers of the same kind."""
    return (~mask).to(weight.dtype) if weight.device.type == "cpu" else ~mask


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of distributed training."""
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module
    return model


def _workers() -> int:
    """Processes that train together."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1


def _as_on_first_worker(masks: List[Tensor]) -> List[Tensor]:
    """The masks of the first worker on all of them, whatever rounding may have done to equal weights."""
    if _workers() == 1:
        return masks
    group = distributed_utils.get_data_parallel_group()
    together = torch.cat([mask.reshape(-1) for mask in masks]).to(torch.uint8)
    distributed_utils.broadcast(together, 0, group)
    parts = together.bool().split([mask.numel() for mask in masks])
    return [part.view(mask.shape).clone() for part, mask in zip(parts, masks)]


class PruningMixin:
    """Adds pruning to a fairseq task; stands before it among the bases. Without ``--prune-amount`` it does nothing."""

    def __init__(self, cfg, *args, **kwargs) -> None:
        super().__init__(cfg, *args, **kwargs)
        self.pruner = make_pruner(cfg)

    @classmethod
    def add_args(cls, parser) -> None:
        """The task's options, and for a task without a dataclass those of pruning."""
        super().add_args(parser)
        config = getattr(cls, "__dataclass", None)
        if config is None or not issubclass(config, PruningConfig):
            gen_parser_from_dataclass(parser, PruningConfig())

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False, **kwargs):
        """The task's step, with nothing of what is gone in weights and gradients."""
        if self.pruner is not None:
            self.pruner.before_step(model, optimizer, update_num)
        done = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad, **kwargs)
        if self.pruner is not None:
            self.pruner.mask_gradients()
        return done

    def optimizer_step(self, optimizer, model, update_num) -> None:
        """The task's optimizer step, then pruning."""
        super().optimizer_step(optimizer, model, update_num)
        if self.pruner is not None:
            self.pruner.after_step(optimizer, update_num + 1)

    def begin_epoch(self, epoch, model) -> None:
        """Logs how much is gone."""
        super().begin_epoch(epoch, model)
        if self.pruner is not None and self.pruner.count and distributed_utils.get_global_rank() == 0:
            assert self.pruner.classes is not None
            total = self.pruner.classes.total
            logger.info(f"epoch {epoch}: {self.pruner.share:.2%} of {total:,} weights are pruned")

    def reduce_metrics(self, logging_outputs, criterion) -> None:
        """The task's, and ``sparsity``."""
        super().reduce_metrics(logging_outputs, criterion)
        if self.pruner is not None and self.pruner.classes is not None:
            metrics.log_scalar("sparsity", self.pruner.share, weight=0, priority=700, round=4)

    def state_dict(self):
        """The task's. fairseq asks for it when it writes a checkpoint, before it copies the parameters."""
        if self.pruner is not None:
            self.pruner.mark()
        return super().state_dict()


def register_pruned_task(task: str, name: Optional[str] = None) -> type:
    """Registers a fairseq task with pruning, as ``pruned_TASK`` or under `name`; returns its class.

    Raises:
        ValueError: there is no such task, or `name` is taken.
    """
    name = name or f"pruned_{task}"
    if task not in TASK_REGISTRY:
        raise ValueError(f"there is no task {task!r}; choose from: {', '.join(sorted(TASK_REGISTRY))}")
    if name in TASK_REGISTRY:
        raise ValueError(f"a task named {name!r} is already registered: give register_pruned_task another name")
    base, config = TASK_REGISTRY[task], TASK_DATACLASS_REGISTRY.get(task)
    title = "".join(word.capitalize() for word in name.split("_"))
    own = type(f"{title}Task", (PruningMixin, base), {"__doc__": f"`{task}` with pruning.", "__module__": __name__})
    if config is not None:
        config = dataclass(type(f"{title}Config", (config, PruningConfig), {"__module__": __name__}))
    return register_task(name, dataclass=config)(own)
