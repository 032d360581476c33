"""A tiny `bso_lstm` learns to copy sentences by beam search optimization."""

import math
import time
from argparse import Namespace
from typing import Any, Dict, NamedTuple

import torch
from fairseq.data import Dictionary

from ..bso.criterion import BeamSearchOptimizationConfig, BeamSearchOptimizationCriterion
from ..models.bso_lstm import BsoLSTMConfig, BsoLSTMModel

WORDS, SENTENCES, LENGTH, UNITS, UPDATES = 20, 8, 5, 16, 30


class Outcome(NamedTuple):
    """The loss for each word before and after the updates, and their seconds."""

    before: float
    after: float
    seconds: float

    @property
    def good(self) -> bool:
        """Whether the loss is a number and has fallen by half."""
        return math.isfinite(self.after) and self.after < self.before / 2


class Copying:
    """The parts of a fairseq task that a model and the criterion use."""

    def __init__(self) -> None:
        self.source_dictionary = self.target_dictionary = Dictionary()
        for index in range(WORDS):
            self.target_dictionary.add_symbol(f"w{index}")
        self.cfg = Namespace(left_pad_source=False)

    def batch(self) -> Dict[str, Any]:
        """Random sentences, each of them its own target: (SENTENCES, LENGTH) with `</s>`."""
        words = torch.randint(self.target_dictionary.nspecial, len(self.target_dictionary), (SENTENCES, LENGTH))
        words[:, -1] = self.target_dictionary.eos()
        net_input = {
            "src_tokens": words,
            "src_lengths": torch.full((SENTENCES,), LENGTH),
            "prev_output_tokens": words.roll(1, 1),
        }
        return {"net_input": net_input, "target": words, "ntokens": words.numel(), "nsentences": SENTENCES}


def self_test() -> Outcome:
    """Trains on one batch with one thread. The caller's random state and threads stay as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train()
    finally:
        torch.set_num_threads(threads)


def _train() -> Outcome:
    """Trains a small `bso_lstm` to copy, with BSO from the start. Does not change the random numbers of the caller."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        task = Copying()
        names = [f"{side}_{part}" for side in ("encoder", "decoder") for part in ("embed_dim", "hidden_size")]
        limits = {"max_source_positions": 64, "max_target_positions": 64}
        model = BsoLSTMModel.build_model(BsoLSTMConfig(**dict.fromkeys(names, UNITS), **limits, dropout=0.0), task)
        options = vars(BeamSearchOptimizationConfig(train_beam=3, initial_beam=3, nll_weight=0.5, sentence_avg=False))
        given = {name: value for name, value in options.items() if not name.startswith("_")}
        criterion = BeamSearchOptimizationCriterion(task, **given)
        optimizer, batch = torch.optim.Adam(model.parameters(), lr=0.05), task.batch()
        losses, started = [], time.monotonic()
        for _ in range(UPDATES):
            loss, size, _ = criterion(model.train(), batch)
            optimizer.zero_grad()
            (loss / size).backward()
            optimizer.step()
            losses.append(loss.item() / size)
    return Outcome(losses[0], losses[-1], time.monotonic() - started)
