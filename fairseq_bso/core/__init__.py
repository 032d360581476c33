"""The ideas of the package in pure torch: no fairseq, no files, no command line.

Beam search optimization
    search_and_score    one batch: the search along gold, and exact scores of what it found
    prefix_score        how words and prefixes are scored: what ``--scorer`` means
    decoder             what the search needs of a model
    violation_reset     the time loop, with its resets
    violations          what makes a violation, and what is known of those of a batch
    vocabulary_search   the best successors over the whole vocabulary
    candidate_search    the best successors among few words of each sentence
    search_words        which few words those are without a constraint, and what they leave of the exact search
    successors          constraints: which words may follow a prefix, and how to add one
    beam                one beam step: rank, keep, recover a path
    segments            the words by which violators differ from gold, run and scored with gradient
    margin              the loss of violations
    costs               what a mistake costs, and how to add a cost
    curriculum          the growing beam of training

The output layer
    scorer              it as plain tensors, and the score of one word of each row
    blockwise           cross entropy and log Z in blocks of rows, which never hold the scores of all words
    products            products of matrices by the quickest library there is

Making models small
    distillation            what a student learns from a teacher, and the choice from an n-best list
    blockwise_distillation  the word-level loss in blocks of rows
    pruning                 which weights go, and when

Interpretation
    patterns, match_ranges  where units are on, and the other places where they are
    other_cells             the units that are on there besides
    cell_ranking, separation  which units tell a track
"""
