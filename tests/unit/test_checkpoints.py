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


def test_copies_for_a_fast_path_are_no_parameters():
    layer = "encoder.layers.1"
    names = [f"{layer}.fc1.weight", f"{layer}.self_attn.out_proj.weight", f"{layer}.self_attn.in_proj_weight"]
    copies = [f"{layer}.{part}_{kind}" for part in ("in_proj", "out_proj", "fc1", "fc2") for kind in ("weight", "bias")]
    model = {name: torch.full((2, 2), float(number)) for number, name in enumerate([*names, *copies])}
    assert names_of(**model) == [(name,) for name in names]


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
