"""The few words that may come out for a sentence: made from a training set, and used by `--successors shortlist`.

command   `fairseq-bso shortlist`: a data folder in, a file out
files     the file, for a task
lexicon   which target words a source word is translated by, from counts
"""
