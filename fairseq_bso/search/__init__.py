"""The search in training, readable alone: pure torch, no fairseq.

segments            one batch: the search along gold, and exact scores of its violations
scorer              the output layer, and the scores of words and prefixes by ``--scorer``
decoder             the interface that the search needs of a model
states              the states of hypotheses, of a model or of a constraint
recurrent           decoders whose state of a hypothesis is a few tensors
violation_reset     the time loop, with its resets
finished_search     beam search to the end
finished_scores     exact scores of what it found
prefixes            the distinct prefixes of a batch's hypotheses
violations          the rules of a violation, and the violations of a batch
vocabulary_search   the best next words in the whole vocabulary
candidate_search    the best next words among few words of each sentence
search_words        the choice of these few words without a constraint, and the agreement with the exact search
constraints         which words may follow a prefix, and how to add a constraint
shortlist           the likeliest words of each sentence, as a constraint
topk                one beam step: rank, keep, recover a path
"""
