"""Beam search optimization: the loss over the violations of the search in training (Wiseman & Rush 2016).

objective   the margin loss, the words that a cost compares, and the growing beam of training; pure torch
costs       the cost of a violation, and how to add a cost; pure torch
criterion   ``--criterion beam_search_optimization``
"""
