"""Magnitude pruning with retraining (See et al. 2016).

schemes           which weights are pruned, and when; pure torch
weight_classes    the classes of weights that schemes compare, and their masks
optimizer_state   what optimizers store for a pruned parameter
pruner            keeps pruned weights at zero during training
task              pruning in a fairseq task: options, mixin, ``register_pruned_task``
command           ``fairseq-bso prune``
"""
