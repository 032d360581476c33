"""Tied parameters of a checkpoint: each counts once, and what only looks alike is not tied."""

import torch

from fairseq_bso.checkpoints import distinct_parameters


def names_of(**model):
    return [names for names, _ in distinct_parameters({"model": model})]


def test_copies_of_a_tied_matrix_are_one_parameter():
    matrix = torch.arange(6.0).view(2, 3)
    model = {"one": matrix, "other": matrix.clone(), "third": matrix + 1}
    assert names_of(**model) == [("one", "other"), ("third",)]


def test_matrices_that_are_zero_are_not_tied_for_that():
    zero = torch.zeros(2, 3)
    assert names_of(one=zero, other=torch.zeros(2, 3)) == [("one",), ("other",)]
    assert names_of(one=zero, other=zero) == [("one", "other")]
