"""Tied parameters of a checkpoint: each counts once, and what only looks alike is not tied."""

import pytest
import torch

from fairseq_bso.checkpoints import _is_literal, distinct_parameters


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


@pytest.mark.parametrize(
    "text",
    ["True", "False", "None", "[(512, 3)] * 20", "[(128, 3)] * 2 + [(512,3)] * 1", "(1, 2.5)", "10000,-1", "'mean'"],
)
def test_options_as_fairseq_writes_them_are_literals(text):
    assert _is_literal(text)


@pytest.mark.parametrize(
    "text",
    [
        "len",
        "len('abc')",
        "[len]",
        "[1 for _ in 'a']",
        "(1).real",
        "1 if 1 else 2",
        "f'{1}'",
        "lambda: 1",
        "[1] * 10000",
    ]
    + ["[1] * 9 * 9", "[1] * [1, 2][0]", "2 ** 9", "x := 1", "1 +", "(" * 300, "\0"],
)
def test_code_is_no_literal(text):
    assert not _is_literal(text)
