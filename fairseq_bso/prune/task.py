"""Pruning in a fairseq task: its options, the mixin that calls the Pruner, and one line for a task of your own:

    register_pruned_task("language_modeling")  # --task pruned_language_modeling

For a class of your own, write ``class MyTask(PruningMixin, LanguageModelingTask)`` and let its config inherit from
PruningConfig.
"""

import logging
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.distributed import utils as distributed_utils
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY, register_task
from omegaconf import II

from ..compat import metrics
from ..errors import UserError
from .pruner import Pruner
from .schemes import PruningSchedule, get_scheme
from .unit_pruner import UnitPruner
from .weight_pruner import WeightPruner

logger = logging.getLogger(__name__)


@dataclass
class PruningConfig(FairseqDataclass):
    """The options of pruning, for the config of a task to inherit."""

    prune_amount: float = field(
        default=0.0, metadata={"help": "share of the weights to prune, from 0 (no pruning) to below 1"}
    )
    prune_units: float = field(
        default=0.0,
        metadata={
            "help": "share of the units of every layer to prune, from 0 (none) to below 1: all rows and columns of a "
            "unit, smallest norm first (bso_lstm; in place of --prune-amount)"
        },
    )
    prune_scheme: str = field(
        default="class_blind",
        metadata={
            "help": "choice of the pruned weights: the smallest of the model (class_blind), of each class "
            "(class_uniform), or relative to the standard deviation of their class (class_distribution)"
        },
    )
    prune_schedule: str = field(
        default="one_shot",
        metadata={
            "help": "time of pruning: at --prune-start (one_shot), or from --prune-start to --prune-end (gradual, "
            "iterative)"
        },
    )
    prune_start: int = field(default=0, metadata={"help": "number of updates before pruning starts; 0: at the start"})
    prune_end: int = field(
        default=0,
        metadata={"help": "update at which gradual and iterative pruning reach --prune-amount or --prune-units"},
    )
    prune_every: int = field(
        default=100, metadata={"help": "updates between two steps of gradual and iterative pruning"}
    )
    prune_exclude: str = field(
        default="",
        metadata={
            "help": "classes or parameters (with --prune-units: sets of units) that are not pruned, separated by "
            "commas; * stands for any characters"
        },
    )
    ddp_backend: Any = II("distributed_training.ddp_backend")
    zero_sharding: Any = II("distributed_training.zero_sharding")
    use_bmuf: Any = II("optimization.use_bmuf")
    store_ema: Any = II("ema.store_ema")
    model_parallel_size: Any = II("common.model_parallel_size")
    pipeline_model_parallel: Any = II("distributed_training.pipeline_model_parallel")


def make_pruner(cfg: Any) -> Optional[Pruner]:
    """The Pruner of a task's config; None if the config prunes nothing.

    Raises:
        UserError: for options that do not fit, and for ways of training that pruning does not support.
    """
    # The config of a loaded model may lack the groups that the other options point into, so this one is read first.
    amount, units = (getattr(cfg, name, 0) for name in ("prune_amount", "prune_units"))
    if amount == 0 and units == 0:
        return None
    options: Dict[str, Any] = {
        name: getattr(cfg, name, entry.default) for name, entry in PruningConfig.__dataclass_fields__.items()
    }
    if units != 0:
        _check_units(amount, units, options["prune_scheme"])
    try:
        get_scheme(options["prune_scheme"])
        schedule = PruningSchedule(
            options["prune_schedule"],
            amount or units,
            options["prune_start"],
            options["prune_end"],
            options["prune_every"],
        )
    except ValueError as error:
        raise UserError(f"pruning (--prune-...): {error}") from None
    scheme, exclude = options["prune_scheme"], options["prune_exclude"]
    pruner = UnitPruner(schedule, exclude) if units != 0 else WeightPruner(schedule, scheme, exclude)
    _refuse_unsupported(options, pruner.option)
    return pruner


def _check_units(amount: float, units: float, scheme: str) -> None:
    """Raises UserError for options that cannot be used with --prune-units."""
    if amount != 0:
        raise UserError(
            f"--prune-units {units} and --prune-amount {amount} cannot be given together: prune units first, then "
            "weights, in a second run with --finetune-from-model"
        )
    if scheme != "class_blind":
        raise UserError(
            f"--prune-scheme {scheme} chooses weights, but --prune-units prunes the same share of the units of every "
            "layer: leave out one of them"
        )


def _refuse_unsupported(options: Dict[str, Any], given: str) -> None:
    """Raises UserError for ways of training in which no worker can rank or mask all weights."""
    for option, usual, what in (
        ("ddp_backend", ("legacy_ddp", "no_c10d", "pytorch_ddp", "c10d"), "no worker has whole parameters to rank"),
        ("zero_sharding", ("none",), "each worker has the optimizer's state of only some parameters"),
        ("model_parallel_size", (1,), "no worker has whole parameters to rank"),
        ("pipeline_model_parallel", (False,), "no device has all weights to rank"),
        ("use_bmuf", (False,), "it replaces the weights by an average in which pruned weights are not zero"),
        ("store_ema", (False,), "the stored average would not be pruned"),
    ):
        value = getattr(options[option], "value", options[option])
        if value not in usual and not str(value).startswith("${"):
            flag = "--" + option.replace("_", "-")
            raise UserError(
                f"{given} cannot be used with {flag} {value}, because {what}: leave out {flag}, or prune the "
                "finished checkpoint (fairseq-bso prune)"
            )


class PruningMixin:
    """Adds pruning to a fairseq task, as the first of its bases.

    Without ``--prune-amount`` and ``--prune-units`` it does nothing.
    """

    def __init__(self, cfg: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(cfg, *args, **kwargs)  # type: ignore[call-arg]
        self.pruner = make_pruner(cfg)

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """Adds the task's options, and for a task without a dataclass those of pruning."""
        super().add_args(parser)  # type: ignore[misc]
        config = getattr(cls, "__dataclass", None)
        if config is None or not issubclass(config, PruningConfig):
            gen_parser_from_dataclass(parser, PruningConfig())

    def train_step(
        self,
        sample: Any,
        model: Any,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The task's step, with pruned weights and their gradients at zero."""
        if self.pruner is not None:
            self.pruner.before_step(model, optimizer, update_num)
        done = super().train_step(  # type: ignore[misc]
            sample, model, criterion, optimizer, update_num, ignore_grad, **kwargs
        )
        if self.pruner is not None:
            self.pruner.mask_gradients()
        return done

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """The task's optimizer step, then pruning."""
        super().optimizer_step(optimizer, model, update_num)  # type: ignore[misc]
        if self.pruner is not None:
            self.pruner.after_step(optimizer, update_num + 1)

    def begin_epoch(self, epoch: int, model: Any) -> None:
        """Logs how many weights are pruned."""
        super().begin_epoch(epoch, model)  # type: ignore[misc]
        if self.pruner is not None and self.pruner.count and distributed_utils.get_global_rank() == 0:
            assert self.pruner.classes is not None
            total = self.pruner.classes.total
            logger.info(f"epoch {epoch}: {self.pruner.share:.2%} of {total:,} {self.pruner.noun} are pruned")

    def reduce_metrics(self, logging_outputs: List[Dict[str, Any]], criterion: Any) -> None:
        """The task's metrics, and ``sparsity``."""
        super().reduce_metrics(logging_outputs, criterion)  # type: ignore[misc]
        if self.pruner is not None and self.pruner.classes is not None:
            metrics.log_scalar("sparsity", self.pruner.share, weight=0, priority=700, round=4)

    def state_dict(self) -> Dict[str, Any]:
        """The task's state. When fairseq writes a checkpoint, it asks for this before it copies the parameters."""
        if self.pruner is not None:
            self.pruner.write_zero_marks()
        return super().state_dict()  # type: ignore[misc]


def register_pruned_task(task: str, name: Optional[str] = None) -> type:
    """Registers a fairseq task with pruning, as ``pruned_TASK`` or under `name`. Returns its class.

    Raises:
        ValueError: if there is no such task, or `name` is registered already.
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
