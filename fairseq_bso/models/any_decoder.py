"""Any incremental decoder of fairseq in the training search, through the interface that fairseq's generator uses.

Slot 0 of each sentence is gold: the incremental state has B rows of gold prefixes, followed by the live rows of the
other hypotheses. A reset reorders to the gold row. The encoder runs once; the search runs the decoder without dropout.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple
from weakref import WeakSet

import torch
from fairseq.models import FairseqEncoderDecoderModel
from torch import Tensor, nn

from ..compat import autocast_settings
from ..search.decoder import GoldRun, Rows, Scored
from ..search.scorer import SCORERS
from ..search.violations import Violations, ragged
from .any_model import OutputLayer, encode, features, reordered, tolerance, unsearchable
from .temporary import checking, evaluation

States = Tuple[int, ...]


class AnyDecoder:
    """A batch of any model. Implements ``search.decoder.Decoder``.

    Args:
        model: the model.
        layer: its output layer.
        net_input: of fairseq's batch, B sentences.
    """

    def __init__(self, model: FairseqEncoderDecoderModel, layer: OutputLayer, net_input: Dict[str, Tensor]) -> None:
        self.model, self.layer, self.net_input = model, layer, net_input
        self.scorer, self.prefix_score = layer.scorer(), SCORERS["softmax"]
        self.padding, self.end = model.decoder.dictionary.pad(), model.decoder.dictionary.eos()
        tokens = net_input["prev_output_tokens"]
        # (B, T); the places after a sentence's end are not used.
        self.inputs = tokens.masked_fill(tokens == self.padding, self.end)
        self.gold_rows = torch.arange(tokens.size(0), device=tokens.device)  # (B,) also the number of each sentence
        self.memory: Any = None  # the encoder's output
        self.autocast = autocast_settings(tokens.device.type)
        self._restart()

    def _restart(self) -> None:
        """Forgets all hypotheses."""
        self.cache: Dict[str, Dict[str, Optional[Tensor]]] = {}
        self.tokens = self.inputs[:, :0]  # (B + R, t + 1) the input words of every row
        self.sentences = self.gold_rows  # (B + R,) the sentence of every row
        self.time = -1  # the number of words in the gold rows

    def gold_run(self, target: Tensor) -> GoldRun:
        """The run along gold (B, T) for the search: the decoder is without dropout and gradient."""
        with torch.autocast(**self.autocast):
            self.memory = encode(self.model, self.net_input)
            with torch.no_grad(), evaluation(self.model.decoder):
                outputs = features(self.model, self.layer, self.inputs, self.memory)  # (B, T, H)
        return GoldRun(target, target.ne(self.padding).sum(1), outputs.transpose(0, 1).contiguous())

    def prepare(self, words: Optional[Tensor]) -> None:
        """Nothing is prepared."""

    def extend(self, t: int, states: States, source: Tensor, words: Tensor, rows: Rows) -> Tuple[Tensor, States]:
        """As in ``Decoder``; fairseq's incremental state holds the states, so the result only shows that they exist."""
        with torch.no_grad(), evaluation(self.model.decoder), torch.autocast(**self.autocast):
            if not states:
                self._run_along_gold(t)
            order, sentences = torch.cat([self.gold_rows, source]), torch.cat([self.gold_rows, rows.sentences])
            words = torch.cat([self.inputs[:, t + 1], words])  # (B + R,), as the two before
            same_number = not rows.dense and order.numel() == self.sentences.numel()
            if same_number and not torch.equal(sentences, self.sentences):
                # fairseq's attention to the source keeps its keys in their order if the number of rows stays the same.
                order, sentences, words = (torch.cat([part, part[:1]]) for part in (order, sentences, words))
            self._reorder(order)
            outputs = self._step(words, sentences)
        return outputs[self.gold_rows.numel() :][: source.numel()], (t + 1,)

    def _run_along_gold(self, t: int) -> None:
        """Keeps the gold rows alone and extends them to ``t`` words."""
        if t < self.time:  # another search of this batch
            self._restart()
        elif self.time >= 0:
            self._reorder(self.gold_rows)
        while self.time < t:
            self._step(self.inputs[:, self.time + 1], self.gold_rows)

    def _reorder(self, order: Tensor) -> None:
        """Selects rows of the incremental state."""
        self.model.decoder.reorder_incremental_state_scripting(self.cache, order)
        self.tokens = self.tokens.index_select(0, order)

    def _step(self, words: Tensor, sentences: Tensor) -> Tensor:
        """Feeds one word to every row: (N,), and the sentence of each row (N,) -> (N, H)."""
        self.tokens = torch.cat([self.tokens, words.unsqueeze(1)], 1)
        self.time += 1
        self.sentences = sentences
        memory = reordered(self.model, self.memory, sentences)
        return features(self.model, self.layer, self.tokens, memory, self.cache)[:, -1]

    def score(self, gold: GoldRun, violations: Violations) -> Tuple[GoldRun, Scored]:
        """As in ``Decoder``: teacher forcing of gold, and of violators' whole prefixes in batches of similar length."""
        with torch.autocast(**self.autocast):
            outputs = features(self.model, self.layer, self.inputs, self.memory).transpose(0, 1)  # (T, B, H)
        first = outputs[violations.branches, violations.sentences]  # the first word follows gold's own prefix
        index = torch.arange(violations.times.numel(), device=first.device)  # (M,)
        words = [Scored(first, violations.paths[index, violations.branches], index, violations.branches)]
        longer = (violations.ends > violations.branches).nonzero().squeeze(1)
        for chunk in longer[violations.ends[longer].argsort(stable=True)].split(max(self.gold_rows.numel(), 1)):
            if chunk.numel():  # the only chunk of an empty tensor is empty
                words.append(self._prefixes(violations, chunk))
        return gold._replace(outputs=outputs), Scored(*(torch.cat(parts) for parts in zip(*words)))

    def _prefixes(self, violations: Violations, chunk: Tensor) -> Scored:
        """The words after the branch of the violators ``chunk`` (m,), by teacher forcing of their whole prefixes."""
        sentences, branches, ends = violations.sentences[chunk], violations.branches[chunk], violations.ends[chunk]
        paths = violations.paths[chunk, : int(ends.max())]  # (m, longest)
        paths = paths.masked_fill(paths == self.padding, self.end)
        tokens = torch.cat([self.inputs[sentences, :1], paths], 1)  # (m, longest + 1)
        with torch.autocast(**self.autocast):
            memory = reordered(self.model, self.memory, sentences)
            found = features(self.model, self.layer, tokens, memory)
        rows, places = ragged(branches + 1, ends - branches)
        return Scored(found[rows, places], violations.paths[chunk[rows], places], chunk[rows], places)


PROBED = 16
"""number of words of the sentences on which a decoder is checked"""


def probe(model: FairseqEncoderDecoderModel, net_input: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """A batch for a check of the decoder: short target sentences repeat their words, long ones end earlier."""
    tokens = net_input["prev_output_tokens"]
    longest = max(tokens.size(1), int(model.decoder.max_positions()))
    tokens = tokens.repeat(1, -(-PROBED // tokens.size(1)))[:, : min(PROBED, longest)]
    return {**net_input, "prev_output_tokens": tokens}


def agrees(decoder: AnyDecoder) -> bool:
    """Whether search steps and segments along gold have the values of the model's own run along gold."""
    sentences, time = decoder.inputs.shape
    target = torch.cat([decoder.inputs[:, 1:], torch.full_like(decoder.inputs[:, :1], decoder.end)], 1)  # (B, T)
    gold, gold_rows = decoder.gold_run(target), decoder.gold_rows
    rows, states = Rows(gold_rows, width=1, dense=True), ()
    pairs = []  # computed and expected vectors
    for t in range(time - 1):
        source = gold_rows if t < 2 else sentences + gold_rows  # parents: gold twice, then the hypotheses themselves
        outputs, states = decoder.extend(t, states, source, decoder.inputs[:, t + 1], rows)
        pairs.append((outputs, gold.outputs[t + 1]))
    ends, zeros = torch.full_like(gold_rows, time - 1), torch.zeros_like(gold_rows)
    violations = Violations(
        sentences=gold_rows,
        times=ends,
        resets=zeros,
        branches=zeros,
        ends=ends,
        paths=gold.words,
        gaps=zeros.float(),
    )
    again, words = decoder.score(gold, violations)
    pairs += [(again.outputs, gold.outputs), (words.outputs, gold.outputs[words.places, words.owners])]
    computed, expected = (torch.cat([part.flatten(0, -2) for part in parts]).float() for parts in zip(*pairs))  # (N, H)
    return bool(((computed - expected).norm(dim=1) <= tolerance(gold.outputs) * expected.norm(dim=1)).all())


_CHECKED: WeakSet[nn.Module] = WeakSet()


def check_steps(model: FairseqEncoderDecoderModel, layer: OutputLayer, net_input: Dict[str, Tensor]) -> None:
    """Checks, once for a model, that its incremental decoding has the values of teacher forcing.

    Raises:
        UserError: if it has not, or adds noise to its weights in each of the several passes of an update.
    """
    if model not in _CHECKED:
        if getattr(model.decoder, "quant_noise", None) is not None:
            raise unsearchable(
                model, "one pass of its decoder in an update (--quant-noise-pq adds noise in each: leave it out)"
            )
        with checking(model):
            if not agrees(AnyDecoder(model, layer, probe(model, net_input))):
                raise unsearchable(model, "incremental decoding with the scores of teacher forcing")
        _CHECKED.add(model)
