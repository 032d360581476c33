"""Magnitude pruning with retraining (See et al. 2016).

schemes           which weights are pruned, and when; pure torch
weight_classes    the classes of weights that schemes compare
optimizer_state   what optimizers hold of a pruned parameter
pruner            keeps pruned weights at zero while a task trains
command           ``fairseq-bso prune``
"""
