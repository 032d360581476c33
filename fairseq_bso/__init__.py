"""Plugins for fairseq: ``--user-dir fairseq_bso`` imports this, and importing this registers everything.

The public face is what ``__all__`` names. A user-dir of your own imports from here, and from nowhere below.
"""

import sys

__version__ = "0.1.0"

# The command `fairseq-bso` shows its help, and `view` its page, without fairseq. Everything else registers here.
if not getattr(sys.modules.get("bso_runtime.cli"), "without_fairseq", False):
    from .plugins import (
        BatchConstraint,
        Vocabulary,
        compat,
        register_delta,
        register_loss,
        register_pruned_task,
        register_scheme,
        register_successors,
        register_text_cost,
    )

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


def __getattr__(name):
    """Imports the public face when it is first used after an import that left it out."""
    if name in __all__:
        from . import plugins

        return getattr(plugins, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
