"""Tasks for ``--task``. Importing this registers them."""

from .bso_translation import BsoTranslationConfig, BsoTranslationTask
from .word_distillation import WordDistillationConfig, WordDistillationTask

__all__ = ["BsoTranslationConfig", "BsoTranslationTask", "WordDistillationConfig", "WordDistillationTask"]
