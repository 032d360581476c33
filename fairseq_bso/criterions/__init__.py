"""Criterions for ``--criterion``. Importing this registers them."""

from .beam_search_optimization import BeamSearchOptimizationConfig, BeamSearchOptimizationCriterion

__all__ = ["BeamSearchOptimizationConfig", "BeamSearchOptimizationCriterion"]
