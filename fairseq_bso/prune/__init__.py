"""Magnitude pruning of weights (See et al. 2016) or of whole units, with retraining.

schemes           which weights are pruned, and when; pure torch
weight_classes    the classes of weights that schemes compare, and their masks
unit_classes      the units that may be pruned, and their masks
optimizer_state   what optimizers store for a pruned parameter
pruner            keeps what is pruned at zero during training
weight_pruner     the pruner of single weights
unit_pruner       the pruner of units
task              pruning in a fairseq task: options, mixin, ``register_pruned_task``
command           ``fairseq-bso prune``
"""
