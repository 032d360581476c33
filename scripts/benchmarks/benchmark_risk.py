"""Measurements of benchmark.py on risk training: an update of `--loss risk`, and the straightforward way to do it.

The straightforward way decodes with fairseq's SequenceGenerator. Then it scores the K hypotheses of every sentence by
teacher forcing over repeated sources. Costs and loss are the same.
"""

import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import torch
from benchmark_setup import Contender, Task, bso_criterion, make_batches, make_bso_lstm, ratio, time_in_turn
from benchmark_training import print_peak_of_process, shares_of_parts
from benchmark_transformer import Models, forced_scores, transformer
from fairseq.sequence_generator import SequenceGenerator

from fairseq_bso.bso import criterion
from fairseq_bso.bso.losses import NBestLists, risk
from fairseq_bso.bso.oracle import gold_words
from fairseq_bso.bso.text_costs import TextCosts
from fairseq_bso.models.decoder import DecoderPass
from fairseq_bso.models.encoder import LSTMEncoder
from fairseq_bso.models.packed_transformer import PackedTransformer
from fairseq_bso.search import finished_search
from fairseq_bso.search.finished_search import Finished

BEAM = 5


def make_softmax_lstm(task, options):
    """`bso_lstm` with `--scorer softmax`."""
    return make_bso_lstm(task, options, "softmax")


KINDS = {"bso_lstm": (make_softmax_lstm, 1e-2), "transformer": (transformer, 1e-3)}
"""name -> what makes the model, and the learning rate of its cross entropy"""


class RiskLoop(Contender):
    """The loop that a user would write: fairseq's generator, then teacher forcing of its hypotheses.

    Args:
        model: any of fairseq's encoder-decoders.
        task: with the dictionaries.
        beam: K.
        longest: the number of words of the longest gold sentence; hypotheses may be a quarter and two words longer.
    """

    def __init__(self, model, task, beam, longest):
        super().__init__(model, None, 0.0)
        self.beam, self.dictionary, self.costs = beam, task.target_dictionary, TextCosts("sentence_bleu", task)
        most = longest + longest // 4 + 2
        self.generator = SequenceGenerator([model], self.dictionary, beam_size=beam, max_len_a=0, max_len_b=most - 1)

    def update(self, sample):
        """One update."""
        self.model.eval()
        with torch.no_grad():
            ranked = self.generator.generate([self.model], sample)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(sample, self.finished(ranked))
        (loss / sample["ntokens"]).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        return {"loss": loss.detach()}

    def finished(self, ranked):
        """The generator's hypotheses as tensors (B, K, T)."""
        rows = [[one["tokens"] for one in row] + [row[0]["tokens"][:0]] * (self.beam - len(row)) for row in ranked]
        every = [words for row in rows for words in row]
        padded = torch.nn.utils.rnn.pad_sequence(every, batch_first=True, padding_value=self.dictionary.pad())
        paths = padded.view(len(rows), self.beam, -1)
        lengths = paths.ne(self.dictionary.pad()).sum(2)
        return Finished(paths, lengths, torch.zeros(lengths.shape, device=lengths.device))

    def loss(self, sample, finished):
        """The risk of given hypotheses, per sentence, times the words of a sentence."""
        golds = gold_words(sample["target"], self.dictionary.pad())
        costs = self.costs.of_finished(finished, golds, sample["net_input"]["src_tokens"]).to(finished.paths.device)
        paths = finished.paths.flatten(0, 1)  # (B * K, T)
        scores = forced_scores(self.model, sample["net_input"], paths, self.dictionary).view(finished.lengths.shape)
        found = NBestLists(scores, finished.lengths, costs, finished.lengths > 0, 1.0)
        return sample["ntokens"] / len(golds) * risk(found)


def contender_of(way, model, task, options):
    """Ours or the loop."""
    if way == "ours":
        return Contender(model, bso_criterion(task, BEAM, loss="risk"), 0.0)
    return RiskLoop(model, task, BEAM, options.length)


def risk_models(task, options):
    """{kind: its Models}."""
    return {kind: Models(make, task, options, learning_rate) for kind, (make, learning_rate) in KINDS.items()}


def risk_updates(kind, models, options, batches):
    """Our risk update / the loop on trained models of one kind: time, and peak memory."""
    ways = {way: contender_of(way, models.model("trained"), models.task, options) for way in ("ours", "loop")}
    logged = {}

    def action(way):
        return lambda sample: logged.__setitem__(way, ways[way].update(sample))

    taken = time_in_turn({way: action(way) for way in ways}, batches, options)
    peaks = {way: peak(way, kind, models.states["trained"], options) for way in ("none", *ways)}
    above = {way: round(peaks[way] - peaks["none"]) for way in ways}
    return {
        "loop seconds": round(statistics.median(taken["loop"]), 4),
        "ours / loop": ratio(taken["ours"], taken["loop"]),
        "hypotheses of a sentence": round(float(logged["ours"]["hypotheses"]) / options.sentences, 2),
        "MiB above an idle process": above,
        "memory, ours / loop": round(above["ours"] / max(above["loop"], 1), 3),
    }


def peak(way, kind, state, options):
    """The peak memory in MiB of a process that does only updates of one way; ``none`` does none."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.pt"
        torch.save({"options": vars(options), "state": state, "way": way, "kind": kind}, file)
        command = [sys.executable, str(Path(__file__).resolve()), str(file)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def measure_peak(path):
    """The side of the child: does a few updates and prints the peak."""
    given = torch.load(path, weights_only=False)
    options = Namespace(**given["options"])
    torch.set_num_threads(options.threads)
    task = Task(options.vocabulary)
    batches = make_batches(task, options)
    model = KINDS[given["kind"]][0](task, options)
    model.load_state_dict(given["state"])
    if given["way"] != "none":
        contender = contender_of(given["way"], model, task, options)
        for sample in batches:
            contender.update(sample)
    print_peak_of_process(options.device)


def risk_breakdown(kind, models, options, batches):
    """The share of each part in the time of our risk update on a trained model of one kind."""
    contender = contender_of("ours", models.model("trained"), models.task, options)
    decoder, gold = PackedTransformer, [(PackedTransformer, "gold_run")]
    if kind == "bso_lstm":
        decoder, gold = DecoderPass, [(LSTMEncoder, "forward"), (DecoderPass, "along")]
    parts = [
        *((*part, "encoder and gold run") for part in gold),
        (criterion, "finished_search", "search"),
        (finished_search, "make_search", "of these words after gold"),
        (decoder, "extend", "of these steps of the model"),
        (criterion, "finished_scores", "scores"),
        (decoder, "score", "of these segments"),
        (TextCosts, "of_finished", "costs"),
        (torch.Tensor, "backward", "backward"),
    ]
    return shares_of_parts(contender, parts, batches, batches, options.device)


if __name__ == "__main__":
    measure_peak(sys.argv[1])
