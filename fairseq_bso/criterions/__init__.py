"""Criterions for ``--criterion``. Importing this registers them."""

from .beam_search_optimization import BeamSearchOptimizationConfig, BeamSearchOptimizationCriterion
from .blockwise_cross_entropy import (
    BlockwiseCrossEntropyCriterion,
    BlockwiseLabelSmoothedCrossEntropyCriterion,
    SelfNormalizedCrossEntropyConfig,
    SelfNormalizedCrossEntropyCriterion,
)
from .word_distillation import WordDistillationCriterion, WordDistillationCriterionConfig

__all__ = [
    "BeamSearchOptimizationConfig",
    "BeamSearchOptimizationCriterion",
    "BlockwiseCrossEntropyCriterion",
    "BlockwiseLabelSmoothedCrossEntropyCriterion",
    "SelfNormalizedCrossEntropyConfig",
    "SelfNormalizedCrossEntropyCriterion",
    "WordDistillationCriterion",
    "WordDistillationCriterionConfig",
]
