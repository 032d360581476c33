"""A user-dir that adds pruning to one of fairseq's own tasks: ``--task pruned_language_modeling``."""

from fairseq_bso import register_pruned_task

register_pruned_task("language_modeling")
