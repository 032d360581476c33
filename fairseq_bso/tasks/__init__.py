"""Tasks for ``--task``. Importing this registers them."""

from .bso_translation import BsoTranslationConfig, BsoTranslationTask
from .sequence_distillation import SequenceDistillationConfig, SequenceDistillationTask
from .word_distillation import WordDistillationConfig, WordDistillationTask

__all__ = [
    "BsoTranslationConfig",
    "BsoTranslationTask",
    "SequenceDistillationConfig",
    "SequenceDistillationTask",
    "WordDistillationConfig",
    "WordDistillationTask",
]
