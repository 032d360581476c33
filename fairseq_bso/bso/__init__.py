"""Beam search optimization: the loss over what the search in training found (Wiseman & Rush 2016).

objective   the margin loss, the words that a cost compares, and the growing beam of training; pure torch
costs       what a violation costs, and how to add a cost; pure torch
criterion   ``--criterion beam_search_optimization``
"""
