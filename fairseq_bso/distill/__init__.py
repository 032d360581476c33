"""Distillation (Kim & Rush 2016): a student learns from a teacher.

loss             the teacher's distribution, and the choice from an n-best list; pure torch
word_loss        what a student learns at each word; pure torch
blockwise_loss   the word-level loss in blocks of rows; pure torch
teacher          a frozen checkpoint or ensemble
teacher_cache    word level: the teacher's likeliest words along each sentence, computed once
cache            sequence level: the folder of the teacher's outputs, a data set of fairseq-train once it is whole
selection        sequence level: which hypotheses of a sentence go into it
job              sequence level: the search over the training set, shared among workers, resumed where it stopped
criterion        ``--criterion word_distillation``
tasks            ``--task word_distillation`` and ``--task sequence_distillation``
command          ``fairseq-bso distill``
"""
