"""Models for ``--arch``. Importing this registers them."""

from .bso_lstm import BsoLSTMConfig, BsoLSTMModel

__all__ = ["BsoLSTMConfig", "BsoLSTMModel"]
