"""Measurements of benchmark.py on fairseq's Transformers: BSO updates, their parts, and two slower ways to do them."""

import functools
import statistics
from argparse import Namespace
from unittest import mock

import torch
from benchmark_setup import (
    Contender,
    OrderingTask,
    bso_criterion,
    make_batches,
    make_fairseq_lstm,
    place,
    ratio,
    time_in_turn,
    to_ordering,
)
from benchmark_training import shares_of_parts
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.models.transformer import TransformerModel, base_architecture
from fairseq.sequence_generator import SequenceGenerator

from fairseq_bso.models import training_search
from fairseq_bso.models.any_decoder import AnyDecoder
from fairseq_bso.models.any_model import encode, output_layer
from fairseq_bso.models.packed_transformer import PackedTransformer
from fairseq_bso.models.temporary import evaluation
from fairseq_bso.search import segments, violation_reset

BEAMS = (6, 2, 11)
TOLERANCE = 1e-4
"""of the losses of two ways to do the same update, relative"""


class SeparatePrefixes(PackedTransformer):
    """The same search; the whole prefixes of violators are scored separately, in batches of similar length."""

    score = AnyDecoder.score


class Way(Contender):
    """A contender whose search in training uses a given decoder."""

    def __init__(self, model, criterion, decoder, learning_rate=0.0):
        super().__init__(model, criterion, learning_rate)
        self.decoder = decoder

    def update(self, sample):
        """One update."""
        with mock.patch.object(training_search, "make_decoder", self.decoder):
            return super().update(sample)


class GeneratorLoop(Contender):
    """The loop that a user would write: fairseq's generator, then teacher forcing of its hypotheses and of gold."""

    def __init__(self, model, task, beam, length, margin=1.0):
        super().__init__(model, None, 0.0)
        self.beam, self.margin, self.dictionary = beam, margin, task.target_dictionary
        self.generator = SequenceGenerator([model], self.dictionary, beam_size=beam, max_len_a=0, max_len_b=length - 1)

    def update(self, sample):
        """One update with the margin loss of the best wrong hypothesis against gold."""
        self.model.eval()
        with torch.no_grad():
            found = self.generator.generate([self.model], sample)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        targets, wrong = self._targets(found, sample["target"])  # (B * (K + 1), T), (B, K)
        scores = forced_scores(self.model, sample["net_input"], targets, self.dictionary).view(-1, self.beam + 1)
        best = scores[:, 1:].masked_fill(~wrong, -torch.inf).max(1).values
        loss = (self.margin - scores[:, 0] + best).clamp(min=0).sum()
        (loss / sample["ntokens"]).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        return {"loss": loss.detach()}

    def _targets(self, found, gold):
        """Gold and the hypotheses of each sentence, padded alike, and which hypotheses are wrong."""
        rows = [[right, *(hypothesis["tokens"] for hypothesis in ranked)] for right, ranked in zip(gold, found)]
        for row in rows:
            row.extend([row[0]] * (self.beam + 1 - len(row)))
        every = [words for row in rows for words in row]
        padded = torch.nn.utils.rnn.pad_sequence(every, batch_first=True, padding_value=self.dictionary.pad())
        by_sentence = padded.view(len(rows), self.beam + 1, -1)
        return padded, (by_sentence[:, 1:] != by_sentence[:, :1]).any(2)


def forced_scores(model, net_input, targets, dictionary):
    """The sum of the log-probabilities of each target, by teacher forcing over repeated sources.

    Args:
        model: any of fairseq's encoder-decoders.
        net_input: the batch of B sentences.
        targets: (B * N, T) N targets of each sentence, padded.
        dictionary: of the targets.

    Returns:
        (B * N,).
    """
    padding = targets == dictionary.pad()  # (B * N, T)
    previous = torch.cat([torch.full_like(targets[:, :1], dictionary.eos()), targets[:, :-1]], 1)  # (B * N, T)
    count = len(targets) // len(net_input["src_tokens"])
    repeated = {name: net_input[name].repeat_interleave(count, 0) for name in ("src_tokens", "src_lengths")}
    outputs = model(**repeated, prev_output_tokens=previous)
    log_probs = model.get_normalized_probs(outputs, log_probs=True)  # (B * N, T, V)
    return log_probs.gather(2, targets.unsqueeze(2)).squeeze(2).masked_fill(padding, 0.0).sum(1)


def transformer(task, options):
    """fairseq's `transformer`: 2 + 2 layers, 4 heads, 4 times as many hidden units in feed-forward layers."""
    args = Namespace(criterion="cross_entropy", dropout=0.1, max_source_positions=1024, max_target_positions=1024)
    for side in ("encoder", "decoder"):
        sizes = {"embed_dim": options.hidden, "ffn_embed_dim": 4 * options.hidden, "layers": 2, "attention_heads": 4}
        for name, size in sizes.items():
            setattr(args, f"{side}_{name}", size)
    base_architecture(args)
    return place(TransformerModel.build_model(args, task), options)


class Models:
    """Models of one kind in two states: fresh, and trained on the noisy chain by NLL."""

    def __init__(self, make, task, options, learning_rate):
        self.make, self.task, self.options, self.learning_rate = make, task, options, learning_rate

    @functools.cached_property
    def states(self):
        """The name of each state -> its parameters."""
        small = -(-self.options.sentences // 4)  # a model learns as much from a small batch
        others = {"seed": self.options.seed + 1, "sentences": small}
        more = make_batches(self.task, Namespace(**{**vars(self.options), **others}), 64)
        criterion = CrossEntropyCriterion(self.task, False)
        nll = Contender(self.make(self.task, self.options), criterion, self.learning_rate)
        fresh = {name: part.clone() for name, part in nll.model.state_dict().items()}
        for index in range(self.options.training):
            nll.update(more[index % len(more)])
        return {"fresh": fresh, "trained": nll.model.state_dict()}

    def model(self, state):
        """A new model with the parameters of a state."""
        model = self.make(self.task, self.options)
        model.load_state_dict(self.states[state])
        return model


def transformers(task, options):
    """fairseq's `transformer`."""
    return Models(transformer, task, options, 1e-3)


def lstms(task, options):
    """fairseq's `lstm`."""
    return Models(make_fairseq_lstm, task, options, 1e-2)


def bso_updates(models, options, batches, beams=BEAMS):
    """BSO / NLL at several beams, over search words and exactly, and on a constrained task; all on trained models."""
    ordering = OrderingTask(options.vocabulary)
    shuffled = dict(zip(map(id, batches), to_ordering(batches, options)))
    actions = {"nll": Contender(models.model("trained"), CrossEntropyCriterion(models.task, False), 0.0).update}
    logged = {}

    def add(name, contender, change=lambda sample: sample):
        def action(sample):
            logged[name] = contender.update(change(sample))

        actions[name] = action

    for beam in beams:
        for more, words in (("", 16), (", --search-words 0", 0)):
            criterion = bso_criterion(models.task, beam, search_words=words)
            add(f"beam {beam}{more}", Contender(models.model("trained"), criterion, 0.0))
        contender = Contender(models.model("trained"), bso_criterion(ordering, beam), 0.0)
        add(f"beam {beam}, --successors word_order", contender, lambda sample: shuffled[id(sample)])
    return ratios_to("nll", time_in_turn(actions, batches, options), logged)


def ratios_to(name, seconds, logged):
    """The ratio of every contender to one of them, which also has its seconds printed."""
    others = seconds.pop(name)
    results = {f"{name} seconds": round(statistics.median(others), 4)}
    for case, taken in seconds.items():
        results[case] = ratio(taken, others)
        if case in logged:
            results[case]["violations per token"] = round(logged[case]["violations"] / logged[case]["ntokens"], 3)
    return results


def ways(models, options, batches, beam=6):
    """Slower ways to do the same update / ours, on fresh and trained models, without and with a constraint."""
    results, tasks = {}, {"": models.task, ", --successors word_order": OrderingTask(options.vocabulary)}
    for state in ("fresh", "trained"):
        for more, task in tasks.items():
            samples = to_ordering(batches, options) if more else batches
            check_equal_losses(models, state, task, samples[0], beam)
            actions = {}
            for name, kind in (("packed", PackedTransformer), ("separate", SeparatePrefixes), ("any", AnyDecoder)):
                actions[f"{name} update"] = Way(models.model(state), bso_criterion(task, beam), kind).update
            for name, kind in (("packed", PackedTransformer), ("separate", SeparatePrefixes)):
                actions[f"{name} score"] = Scoring(models.model(state), kind, task, samples, beam)
            if not more:
                actions["loop"] = GeneratorLoop(models.model(state), task, beam, options.length).update
            taken = time_in_turn(actions, samples, options)
            pairs = {
                "separate prefixes / packed, score alone": ("separate score", "packed score"),
                "separate prefixes / packed, update": ("separate update", "packed update"),
                "fairseq's incremental decoder / packed, update": ("any update", "packed update"),
                "loop over SequenceGenerator / packed, update": ("loop", "packed update"),
            }
            found = {name: ratio(taken[one], taken[two]) for name, (one, two) in pairs.items() if one in taken}
            results[f"{state}{more}"] = {**actions["packed score"].counts(), **found}
    return results


class Scoring:
    """The scores of the violations of each batch, forward and backward of encoder and decoder, without the search."""

    def __init__(self, model, kind, task, batches, beam):
        layer, criterion = output_layer(model, batches[0]["net_input"]), bso_criterion(task, beam)
        self.model, self.found = model, {}
        for sample in batches:
            decoder = kind(model, layer, sample["net_input"])
            gold = decoder.gold_run(sample["target"])
            constraint = criterion.constraint(sample)
            options = segments.SearchOptions(beam, 1.0, search_words=16, constraint=constraint)
            with torch.no_grad(), evaluation(model):
                violations = segments.search_and_score(decoder, gold, options).violations
            self.found[id(sample)] = decoder, gold, violations

    def __call__(self, sample):
        self.model.zero_grad(set_to_none=True)
        decoder, gold, violations = self.found[id(sample)]
        decoder.memory = encode(self.model, sample["net_input"])
        scored, words = decoder.score(gold, violations)
        (scored.outputs.square().sum() + words.outputs.square().sum()).backward()

    def counts(self):
        """The violations of a word, and the words of segments after their first."""
        every = [violations for _, _, violations in self.found.values()]
        words = sum(gold.words.numel() for _, gold, _ in self.found.values())
        return {
            "violations per token": round(sum(each.times.numel() for each in every) / words, 3),
            "packed words per token": round(sum(int((each.ends - each.branches).sum()) for each in every) / words, 3),
        }


def check_equal_losses(models, state, task, sample, beam):
    """Compares the losses of all ways on one batch, without dropout. Raises SystemExit if they differ."""
    losses = {}
    for kind in (PackedTransformer, SeparatePrefixes, AnyDecoder):
        model = models.model(state)
        with evaluation(model), mock.patch.object(training_search, "make_decoder", kind):
            losses[kind.__name__] = float(bso_criterion(task, beam)(model, sample)[0].detach())
    right = losses[PackedTransformer.__name__]
    if any(abs(loss - right) > TOLERANCE * abs(right) for loss in losses.values()):
        raise SystemExit(f"the ways to do a BSO update differ on a {state} model: {losses}")


def transformer_breakdown(models, options, batches, beam=6):
    """The share of each part in the time of a BSO update of a trained Transformer."""
    contender = Contender(models.model("trained"), bso_criterion(models.task, beam), 0.0)
    parts = [
        (PackedTransformer, "gold_run", "encoder and gold run of the search"),
        (segments, "make_search", "words after gold"),
        (violation_reset.Searcher, "run", "search"),
        (PackedTransformer, "extend", "of these steps of the model"),
        (PackedTransformer, "score", "packed pass with gradient"),
        (segments, "violation_gaps", "gaps"),
        (torch.Tensor, "backward", "backward"),
    ]
    repeated = batches * max(1, options.rounds // len(batches))
    return shares_of_parts(contender, parts, batches, repeated, options.device)
