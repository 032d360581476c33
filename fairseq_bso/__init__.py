"""Beam-Search Optimization for fairseq. ``--user-dir fairseq_bso`` imports this, and importing this registers
everything."""

from . import compat, criterions, models, tasks

__all__ = ["compat", "criterions", "models", "tasks"]
__version__ = "0.1.0"
