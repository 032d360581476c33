"""`fairseq-bso ablate`: the rise of the loss over a corpus when units are set to their means.

command   the subcommand
options   what is set, and what is written
corpus    the sentences of a capture, and the word that each row predicts
labels    the tracks by which losses are added up
units     the units by name, their means, and random units of the same states as a control
losses    runs the model over the corpus with units set
report    the results as a table, JSON or CSV
ablation  all of it
"""
