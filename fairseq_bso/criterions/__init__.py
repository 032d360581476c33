"""Criterions for ``--criterion``. Importing this registers them."""

from .beam_search_optimization import BeamSearchOptimizationConfig, BeamSearchOptimizationCriterion
from .word_distillation import WordDistillationCriterion, WordDistillationCriterionConfig

__all__ = [
    "BeamSearchOptimizationConfig",
    "BeamSearchOptimizationCriterion",
    "WordDistillationCriterion",
    "WordDistillationCriterionConfig",
]
