"""Tasks for ``--task``. Importing this registers them."""

from .bso_translation import BsoTranslationConfig, BsoTranslationTask

__all__ = ["BsoTranslationConfig", "BsoTranslationTask"]
