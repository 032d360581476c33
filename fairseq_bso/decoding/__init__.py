"""Decoding: what fairseq's generator lacks.

constraint      a constraint bound to the dictionaries of a task
constrained     a generator that ranks only what the constraint allows
unnormalized    models without probabilities: ensembles, and scores of references
length_ratios   lengths of outputs over those of references, by beam, in validation
"""
