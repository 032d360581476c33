"""Distillation (Kim & Rush 2016): a student learns from a teacher.

teacher_distribution  word level: the teacher's distribution at each target word; pure torch
word_loss             the word-level loss; pure torch
blockwise_loss        the word-level loss in blocks of rows; pure torch
teacher               a frozen checkpoint or ensemble
teacher_cache         word level: the teacher's top k words of each sentence, computed once
cache                 sequence level: the folder of the teacher's outputs, in the end a data set for fairseq-train
cache_identity        sequence level: the inputs and options that these outputs depend on
selection             sequence level: selects hypotheses of the teacher
ranking               sequence level: the ranking of hypotheses by sentence BLEU; pure torch
job                   sequence level: decodes the training set with several workers; an interrupted job continues
options               the options of both tasks, and their checks
criterion             ``--criterion word_distillation``
tasks                 ``--task word_distillation`` and ``--task sequence_distillation``
command               ``fairseq-bso distill``
"""
