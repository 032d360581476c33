"""Decoding: features that fairseq's generator lacks.

constraint            a kind of constraint bound to the dictionaries of a task
columns               the candidates of a sentence in place of the vocabulary
constrained           a generator that ranks only the words that the constraint allows
constrained_ensemble  its models, which score only these words
repeated_ngrams       --no-repeat-ngram-size, which fairseq does not carry out on a CPU
unknown_words         the source words of unknown output words, for --replace-unk
unnormalized          models without probabilities: ensembles, and scores of references
length_ratios         ratios of output length to reference length, by beam, in validation
"""
