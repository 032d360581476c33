"""Changes of a model that last as long as a ``with`` block."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Iterator

import torch
from torch import nn


@contextmanager
def replaced(module: nn.Module, attribute: str, function: Callable[..., Any]) -> Iterator[None]:
    """While open, replaces a method or submodule of one object. A method of the class is restored by deletion."""
    before = module.__dict__.get(attribute)
    module.__dict__[attribute] = function
    try:
        yield
    finally:
        if before is None:
            del module.__dict__[attribute]
        else:
            module.__dict__[attribute] = before


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """While open, the model is in evaluation mode. Modules that were in it before stay in it afterwards."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def checking(model: nn.Module) -> Iterator[None]:
    """Runs a check of a model without dropout, gradient, or effect on later random numbers.

    A resumed run repeats the checks. fairseq's LayerDrop draws random numbers even if it drops nothing.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]), evaluation(model):
        yield
