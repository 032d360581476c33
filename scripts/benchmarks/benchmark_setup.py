"""Shared parts of the measurements of benchmark.py: models of equal sizes, batches, one update, a race, its ratios."""

import statistics
import sys
import time
from argparse import Namespace
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.models.lstm import LSTMModel, lstm_luong_wmt_en_de

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from fairseq_bso.bso.criterion import BeamSearchOptimizationCriterion  # noqa: E402
from fairseq_bso.decoding.constraint import Constraint  # noqa: E402
from fairseq_bso.models import bso_lstm  # noqa: E402

LEARNING_RATE = 2e-3
CLOCK = [time.perf_counter]


class Task:
    """The parts of a fairseq task that models and criterions use."""

    teacher = None

    def __init__(self, words):
        self.source_dictionary = Dictionary()
        for index in range(words - len(self.source_dictionary)):
            self.source_dictionary.add_symbol(f"w{index}")
        self.target_dictionary = self.source_dictionary
        self.cfg = Namespace(left_pad_source=False)


class OrderingTask(Task):
    """The task under ``--successors word_order``."""

    def __init__(self, words):
        super().__init__(words)
        self.batch_constraint = Constraint("word_order", self.source_dictionary, self.target_dictionary)


def make_bso_lstm(task, options, scorer):
    """A `bso_lstm` of one layer, unidirectional, general attention, input feeding."""
    size, sides = options.hidden, ("encoder", "decoder")
    sizes = {f"{side}_{name}": size for side in sides for name in ("embed_dim", "hidden_size")}
    limits = {"max_source_positions": 1024, "max_target_positions": 1024}
    config = bso_lstm.BsoLSTMConfig(**sizes, **limits, dropout=0.2, scorer=scorer, init_range="0.1")
    return place(bso_lstm.BsoLSTMModel.build_model(config, task), options)


def make_fairseq_lstm(task, options):
    """fairseq's own `lstm` with the same sizes and dropout, and general (Luong) attention."""
    names = "encoder_embed_dim encoder_hidden_size decoder_embed_dim decoder_hidden_size decoder_out_embed_dim".split()
    args = Namespace(**dict.fromkeys(names, options.hidden), criterion="cross_entropy", dropout=0.2)
    args.max_source_positions = 1024
    args.max_target_positions, args.encoder_layers, args.decoder_layers, args.encoder_bidirectional = 1024, 1, 1, False
    lstm_luong_wmt_en_de(args)
    args.encoder_dropout_out = args.decoder_dropout_out = 0.2
    args.encoder_dropout_in = args.decoder_dropout_in = 0.0
    return place(LSTMModel.build_model(args, task), options)


def place(model, options):
    """The model on the device, in the dtype."""
    return model.to(options.device).to(getattr(torch, options.dtype)).train()


def make_batches(task, options, count=4):
    """Batches of random sources, with targets from a noisy Markov chain over few words.

    A model learns the chain in seconds: each word has one successor with probability 0.85."""
    generator = torch.Generator().manual_seed(options.seed)
    first, words, shape = 4, min(300, options.vocabulary - 4), (options.sentences, options.length)
    follows = torch.randperm(words, generator=torch.Generator().manual_seed(0))  # one chain for all seeds
    batches = []
    for _ in range(count):
        target = torch.randint(words, shape, generator=generator)
        for t in range(1, options.length):
            certain = torch.rand(shape[0], generator=generator) < 0.85
            target[:, t] = torch.where(certain, follows[target[:, t - 1]], target[:, t])
        target += first
        target[:, -1] = task.target_dictionary.eos()
        source = torch.randint(first, options.vocabulary, shape, generator=generator)
        previous = torch.cat([target[:, -1:], target[:, :-1]], 1)
        net_input = {
            "src_tokens": source,
            "src_lengths": torch.full(shape[:1], shape[1]),
            "prev_output_tokens": previous,
        }
        net_input = {name: part.to(options.device) for name, part in net_input.items()}
        net_input["src_lengths"] = net_input["src_lengths"].cpu()
        sample = {"net_input": net_input, "target": target.to(options.device), "ntokens": target.numel()}
        batches.append({**sample, "id": torch.arange(shape[0]), "nsentences": shape[0]})
    return batches


def to_ordering(batches, options):
    """Batches with the same targets, whose sources are the targets' words in random order."""
    generator = torch.Generator().manual_seed(options.seed)
    ordering = []
    for sample in batches:
        target = sample["target"]
        source = target[:, torch.randperm(target.size(1) - 1, generator=generator).to(target.device)]
        net_input = {**sample["net_input"], "src_tokens": torch.cat([source, target[:, -1:]], 1)}
        ordering.append({**sample, "net_input": net_input})
    return ordering


def bso_criterion(task, beam, **options):
    """The criterion at a fixed beam, without the comparison with the exact search that each run does once.

    Args:
        task: a Task.
        beam: K.
        options: other options of the criterion."""
    given = {"initial_beam": 2, "updates_per_beam": 0, "delta": "zero_one", "margin": 1.0, "nll_weight": 0.0}
    given.update({"search_dtype": "model", "search_screen": 2, "sentence_avg": False, **options})
    made = BeamSearchOptimizationCriterion(task, beam, **given)
    made.agreement_logged = True
    return made


class Contender:
    """A model, a criterion and an optimizer that does one update at a time."""

    def __init__(self, model, criterion, learning_rate=LEARNING_RATE):
        self.model, self.criterion = model, criterion
        self.optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    def update(self, sample):
        """Forward, backward, clip, Adam step. Returns the criterion's log."""
        self.optimizer.zero_grad(set_to_none=True)
        loss, sample_size, logged = self.criterion(self.model, sample)
        (loss / sample_size).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        return logged


def synchronised_time(device):
    """The time in seconds, after the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return CLOCK[0]()


def take_cpu_time():
    """From now on the clock counts the processor time of this process: other programs hardly change it."""
    CLOCK[0] = time.process_time


def time_in_turn(contenders, batches, options):
    """Times one update of every contender in every round: {name: [seconds]}.

    Each contender is timed in its second update in a row. Its first one finds the caches and memory of another
    contender. That costs some contenders more than others, and does not occur in training.
    """
    seconds = {name: [] for name in contenders}
    for index in range(options.warm_up + options.rounds):
        sample = batches[index % len(batches)]
        for name, action in contenders.items():
            action(batches[(index - 1) % len(batches)])
            start = synchronised_time(options.device)
            action(sample)
            if index >= options.warm_up:
                seconds[name].append(synchronised_time(options.device) - start)
    return seconds


def ratio(numerator, denominator):
    """The median and quartiles of the ratios within each round."""
    ratios = [a / b for a, b in zip(numerator, denominator)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"median": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}
