"""The decoder of ``bso_lstm``: stacked LSTM with input feeding and Luong attention (Luong et al. 2015, section 3)."""

from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from fairseq.models import FairseqIncrementalDecoder
from torch import Tensor, nn

from ..linear import linear
from ..search.decoder import Rows
from ..search.recurrent import RecurrentDecoder
from ..search.scorer import PrefixScore, Scorer
from ..search.states import State
from .deferred_gradients import AttentionMemory, RecurrentWeight, attention_weights, lstm_cell
from .encoder import EncoderOut, in_batch_order


class DropoutMasks(NamedTuple):
    """Scaled dropout masks of every (time, sentence). All hypotheses of a sentence share them. None: no dropout."""

    embedded: Optional[Tensor]
    """(T * B, E)"""
    between: List[Optional[Tensor]]
    """L - 1 of (T * B, H)"""
    output: Optional[Tensor]
    """(T * B, H)"""


class LSTMDecoder(FairseqIncrementalDecoder):
    """Stacked LSTM; ``h~ = tanh(W_c [context; h])``; ``f(w | prefix) = W_out h~ + b``.

    Args:
        dictionary: target dictionary.
        embedding: target embedding (V, E).
        output_embedding: the weight (V, H) of the output layer, if it is shared; else None.
        hidden_size: H.
        layers: stacked layers.
        encoder_size: D of the encoder's states.
        attention: ``general``, ``dot`` or ``mlp``.
        input_feeding: feed ``h~`` into the next step.
        prefix_score: the score of words and prefixes (``--scorer``).
        dropout: between layers and on ``h~``.
        embedding_dropout: on the embedded words.
        residual: add a layer's input to its output, from the second layer on.
        max_target_positions: longest target.
    """

    def __init__(
        self,
        dictionary,
        embedding: nn.Embedding,
        output_embedding: Optional[nn.Parameter],
        hidden_size: int,
        layers: int,
        encoder_size: int,
        attention: str,
        input_feeding: bool,
        prefix_score: PrefixScore,
        dropout: float,
        embedding_dropout: float,
        residual: bool,
        max_target_positions: int,
    ) -> None:
        super().__init__(dictionary)
        self.embedding = embedding
        self.input_projection = nn.Linear(embedding.embedding_dim, 4 * hidden_size)
        recurrent_size = hidden_size * (2 if input_feeding else 1)
        self.first_layer = nn.Parameter(torch.empty(4 * hidden_size, recurrent_size))
        self.upper_layers = nn.ModuleList(nn.Linear(2 * hidden_size, 4 * hidden_size) for _ in range(layers - 1))
        bridged = encoder_size != hidden_size
        self.initial_hidden = nn.Linear(encoder_size, hidden_size) if bridged else None
        self.initial_cell = nn.Linear(encoder_size, hidden_size) if bridged else None
        self.attention_query = nn.Linear(hidden_size, hidden_size, bias=False) if attention == "mlp" else None
        self.attention_energy = nn.Parameter(torch.empty(hidden_size)) if attention == "mlp" else None
        self.attentional = nn.Linear(hidden_size, hidden_size, bias=False)
        self.output_weight = nn.Parameter(torch.empty(len(dictionary), hidden_size))
        if output_embedding is not None:
            self.output_weight = output_embedding
        self.output_bias = nn.Parameter(torch.zeros(len(dictionary)))
        self.hidden_size, self.layers = hidden_size, layers
        self.input_feeding, self.prefix_score, self.residual = input_feeding, prefix_score, residual
        self.dropout, self.embedding_dropout = dropout, embedding_dropout
        self.max_target_positions = max_target_positions

    @property
    def scorer(self) -> Scorer:
        """The output layer."""
        return Scorer(self.output_weight, self.output_bias)

    def initial_states(self, encoder_out: EncoderOut) -> State:
        """(B * width, H) each: hidden states of all layers, cell states of all layers, attentional vector (zero)."""
        hidden, cell = encoder_out.hidden, encoder_out.cell  # (L, B, D)
        if self.initial_hidden is not None and self.initial_cell is not None:
            hidden, cell = self.initial_hidden(hidden), self.initial_cell(cell)
        hidden, cell = (part.repeat_interleave(encoder_out.width, dim=1) for part in (hidden, cell))
        return (*hidden.unbind(0), *cell.unbind(0), torch.zeros_like(hidden[0]))

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOut,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
        src_lengths: Optional[Tensor] = None,
        features_only: bool = False,
        **unused,
    ) -> Tuple[Tensor, Dict]:
        """Scores of all next words.

        Args:
            prev_output_tokens: (B, T) int64; with ``incremental_state`` only the last column is new.
            encoder_out: of the encoder.
            incremental_state: fairseq's store of decoder states between steps.
            src_lengths: not used.
            features_only: return ``h~`` (B, T, H), not ``f`` (B, T, V).

        Returns:
            ``f`` (B, T, V), and a dict with ``attn`` [(B, T, S)], ``incremental`` and ``previous_scores``: (B, T)
            scores of the previous words if the score of a prefix is that of its last word, else None.
        """
        if incremental_state is not None:
            outputs, previous, attention = self._incremental_step(prev_output_tokens, encoder_out, incremental_state)
            outputs, attention = outputs.unsqueeze(1), attention.unsqueeze(1)
            previous = None if previous is None else previous.unsqueeze(1)
        else:
            run = DecoderPass(self, encoder_out, prev_output_tokens.size(1))
            outputs_by_time, _, weights = run.along(prev_output_tokens)
            outputs, attention = outputs_by_time.transpose(0, 1), torch.stack(weights, 1)
            previous = None
            if not self.prefix_score.cumulative:
                previous = F.pad(self._score_words(outputs[:, :-1], prev_output_tokens[:, 1:]), (1, 0))  # (B, T)
        extra = {
            "attn": [in_batch_order(attention, encoder_out)],
            "previous_scores": previous,
            "incremental": incremental_state is not None,
        }
        return (outputs if features_only else self.output_layer(outputs)), extra

    def _incremental_step(
        self, tokens: Tensor, encoder_out: EncoderOut, incremental_state: Dict[str, Dict[str, Optional[Tensor]]]
    ) -> Tuple[Tensor, Optional[Tensor], Tensor]:
        """One step of N = B * width hypotheses -> h~ (N, H), f of the last words (N,) or None, attention (N, S)."""
        cached = self.get_incremental_state(incremental_state, "states")
        words, previous = tokens[:, -1], None  # (N,)
        if cached is None:
            states = self.initial_states(encoder_out)
        else:
            states = tuple(cached[str(place)] for place in range(2 * self.layers + 1))
        if not self.prefix_score.cumulative:
            outputs = states[-1]
            previous = outputs.new_zeros(words.shape) if cached is None else self._score_words(outputs, words)
        run = DecoderPass(self, encoder_out, 0)
        rows = run.every_row()
        outputs, states = run.advance(run.embed(words, rows.slots, rows.slots), states, rows, rows.slots)
        self.set_incremental_state(incremental_state, "states", {str(place): part for place, part in enumerate(states)})
        return outputs, previous, run.attention

    def _score_words(self, outputs: Tensor, words: Tensor) -> Tensor:
        """h~ (..., H), words (...) -> f (...), rounded like the scores of all words: sums telescope in 16 bits too."""
        return self.scorer.score_words(outputs, words).to(outputs.dtype)

    def reorder_incremental_state(self, incremental_state, new_order: Tensor) -> None:
        """Selects hypotheses: ``new_order`` (N,)."""
        cached = self.get_incremental_state(incremental_state, "states")
        if cached is not None:
            chosen = {name: part.index_select(0, new_order) for name, part in cached.items()}
            self.set_incremental_state(incremental_state, "states", chosen)

    def output_layer(self, outputs: Tensor) -> Tensor:
        """h~ (..., H) -> f (..., V)."""
        return linear(outputs, self.output_weight, self.output_bias)

    def max_positions(self) -> int:
        """Longest target."""
        return self.max_target_positions


class DecoderPass(RecurrentDecoder):
    """The decoder's steps on one batch, with deferred gradients and the dropout masks of every (time, sentence).

    Args:
        decoder: the parameters.
        encoder_out: B sentences of ``width`` hypotheses.
        time: T, the number of steps with dropout masks.
    """

    def __init__(self, decoder: LSTMDecoder, encoder_out: EncoderOut, time: int) -> None:
        self.decoder, self.encoder_out = decoder, encoder_out
        self.scorer, self.prefix_score = decoder.scorer, decoder.prefix_score
        self.padding, self.end = decoder.dictionary.pad(), decoder.dictionary.eos()
        self.sentences = encoder_out.keys.size(0)
        self.first = RecurrentWeight(decoder.first_layer)
        self.upper = [RecurrentWeight(layer.weight) for layer in decoder.upper_layers]
        self.attentional = RecurrentWeight(decoder.attentional.weight)
        self.memory = AttentionMemory(encoder_out.keys, encoder_out.values, encoder_out.padding)
        self.masks = self._draw_masks(time)
        self.table: Optional[Tuple[Tensor, Tensor]] = None  # (U, 4H), and the row of each word (V,)
        self.attention: Optional[Tensor] = None  # (B * n, S) of the last step

    def every_row(self) -> Rows:
        """All hypotheses, in order."""
        width = self.encoder_out.width
        return Rows(torch.arange(self.sentences * width, device=self.encoder_out.keys.device), width, True)

    def _draw_masks(self, time: int) -> DropoutMasks:
        """The masks of ``time`` steps."""
        decoder, positions = self.decoder, time * self.sentences

        def draw(size: int, rate: float) -> Optional[Tensor]:
            if not decoder.training or rate == 0 or time == 0:
                return None
            return F.dropout(self.encoder_out.keys.new_ones(positions, size), rate)

        return DropoutMasks(
            embedded=draw(decoder.embedding.embedding_dim, decoder.embedding_dropout),
            between=[draw(decoder.hidden_size, decoder.dropout) for _ in decoder.upper_layers],
            output=draw(decoder.hidden_size, decoder.dropout),
        )

    def along(self, prev_output_tokens: Tensor) -> Tuple[Tensor, State, List[Tensor]]:
        """Teacher forcing: (B, T) -> h~ (T, B, H), states after each step, (T, B, H) each, attention, T of (B, S)."""
        rows, time = self.every_row(), prev_output_tokens.size(1)
        words = prev_output_tokens.t().reshape(-1)  # (T * B,)
        index = torch.arange(words.numel(), device=words.device)  # (T * B,)
        times = index.div(self.sentences, rounding_mode="floor")
        inputs = self.embed(words, index.remainder(self.sentences), times).chunk(time)
        states = self.decoder.initial_states(self.encoder_out)
        history: List[State] = []
        attention: List[Tensor] = []
        for inputs_now, times_now in zip(inputs, times.view(time, -1)):
            _, states = self.advance(inputs_now, states, rows, times_now)
            history.append(states)
            attention.append(self.attention)
        stacked = tuple(torch.stack(part) for part in zip(*history))
        return stacked[-1], stacked, attention

    def prepare(self, words: Optional[Tensor]) -> None:
        """As in ``Decoder``: computes the inputs of the words. Without gradient, ``embed`` then looks them up."""
        self.table = None
        if words is None or self.masks.embedded is not None:  # with dropout each step has a mask of its own
            return
        rows = words.new_zeros(self.decoder.embedding.num_embeddings)
        rows[words] = torch.arange(words.numel(), device=words.device)
        self.table = self._project(self.decoder.embedding(words)), rows

    def embed(self, words: Tensor, sentences: Tensor, times: Tensor) -> Tensor:
        """(N,) -> (N, 4H): the part of the words in the gates of the first layer, with bias."""
        if self.table is not None and not torch.is_grad_enabled():
            table, rows = self.table
            return table.index_select(0, rows[words])
        embedded = self.decoder.embedding(words)  # (N, E)
        return self._project(self._masked(embedded, self.masks.embedded, sentences, times))

    def _project(self, embedded: Tensor) -> Tensor:
        """(N, E) -> (N, 4H)."""
        projection = self.decoder.input_projection
        return linear(embedded, projection.weight, projection.bias)

    def advance(self, inputs: Tensor, states: State, rows: Rows, times: Tensor) -> Tuple[Tensor, State]:
        """(R, 4H), states each (R, H) -> h~ (R, H) and the next states."""
        layers, sentences = self.decoder.layers, rows.sentences
        hiddens, cells, fed = list(states[:layers]), list(states[layers : 2 * layers]), states[-1]
        recurrent = torch.cat([fed, hiddens[0]], 1) if self.decoder.input_feeding else hiddens[0]
        top, cells[0] = self.cell(0, self.first(recurrent, inputs), cells[0])
        hiddens[0] = top
        for index, (weight, layer) in enumerate(zip(self.upper, self.decoder.upper_layers), start=1):
            below = self._masked(top, self.masks.between[index - 1], sentences, times)
            gates = weight(torch.cat([below, hiddens[index]], 1), layer.bias)
            hiddens[index], cells[index] = self.cell(index, gates, cells[index])
            top = hiddens[index] + below if self.decoder.residual else hiddens[index]
        context = self._attend(top, rows)
        output = torch.tanh(self.attentional(top, context))
        output = self._masked(output, self.masks.output, sentences, times)
        return output, (*hiddens, *cells, output)

    def cell(self, layer: int, gates: Tensor, cell: Tensor) -> Tuple[Tensor, Tensor]:
        """Gates (R, 4H) and cell (R, H) of a layer, counted from 0 -> its next hidden and cell state (R, H)."""
        return lstm_cell(gates, cell)

    def _masked(self, values: Tensor, mask: Optional[Tensor], sentences: Tensor, times: Tensor) -> Tensor:
        """Applies the dropout masks of some (time, sentence)."""
        return values if mask is None else values * mask.index_select(0, times * self.sentences + sentences)

    def _attend(self, query: Tensor, rows: Rows) -> Tensor:
        """(R, H) -> (R, H) projected contexts. Rows are grouped by sentence, so that keys and values are not copied."""
        query = rows.by_sentence(query, self.sentences)  # (B, n, H)
        context, weights = self._additive(query) if self.decoder.attention_query is not None else self.memory(query)
        self.attention = weights.flatten(0, 1)
        return rows.by_row(context)

    def _additive(self, query: Tensor) -> Tuple[Tensor, Tensor]:
        """MLP attention (Bahdanau et al. 2015, appendix A.1.2): ``v . tanh(W_k key + W_q query)``."""
        assert self.decoder.attention_query is not None
        mixed = self.decoder.attention_query(query).unsqueeze(2) + self.encoder_out.keys.unsqueeze(1)  # (B, n, S, H)
        scores = torch.tanh(mixed).matmul(self.decoder.attention_energy)  # (B, n, S)
        weights = attention_weights(scores, self.encoder_out.padding)
        return weights.bmm(self.encoder_out.values), weights
