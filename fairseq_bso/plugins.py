"""Importing this registers every model, criterion and task with fairseq, and names the public face of the package."""

from . import compat
from . import corrections as _corrections  # noqa: F401
from . import training_start as _training_start  # noqa: F401
from .bso import criterion as _bso  # noqa: F401
from .bso.costs import register_delta
from .bso.losses import register_loss
from .bso.text_costs import register_text_cost
from .cross_entropy import criterion as _cross_entropy  # noqa: F401
from .cross_entropy import scheduled_sampling as _scheduled_sampling  # noqa: F401
from .decoding import repeated_ngrams as _repeated_ngrams  # noqa: F401
from .decoding.unnormalized import check_commands_options
from .distill import criterion as _distill  # noqa: F401
from .distill import tasks as _distill_tasks  # noqa: F401
from .models.bso_lstm import BsoLSTMModel
from .prune.schemes import register_scheme
from .prune.task import register_pruned_task
from .search.constraints import BatchConstraint, Vocabulary, register_successors

__all__ = [
    "BatchConstraint",
    "Vocabulary",
    "compat",
    "register_delta",
    "register_loss",
    "register_pruned_task",
    "register_scheme",
    "register_successors",
    "register_text_cost",
]

# fairseq passes the options of decoding to the model alone. Models and decoding know nothing of each other.
BsoLSTMModel.decoding_checks.append(check_commands_options)
