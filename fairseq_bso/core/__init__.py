"""The ideas of the package in pure torch: no fairseq, no files, no command line.

beam             one beam step: rank, keep, recover a path
violation_reset  the search that training runs, with its violations and resets
margin           the loss of those violations
costs            what a mistake costs, and how to add one's own
distillation     what a student learns from a teacher: the word-level loss, the choice from an n-best list
pruning          which weights go, and when
"""
