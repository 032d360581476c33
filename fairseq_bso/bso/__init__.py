"""Beam search optimization: losses over what the search in training finds (Wiseman & Rush 2016).

losses        the losses, and how to add a loss; pure torch
costs         the cost of a violation, the words that it compares, and how to add a cost; pure torch
text_costs    the cost of a finished hypothesis by its text, and how to add one
oracle        the lowest-cost hypothesis in gold's place
curriculum    the beam of each update; pure Python
options       the options of the criterion, and their checks
batch_checks  the checks of every batch
criterion     ``--criterion beam_search_optimization``
"""
