"""Runs a model over a corpus with units set, and adds its losses up by label."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy
import torch
from torch import Tensor

from ...batches import length_batches
from ..models.changes import UNCHANGED, Change, UnitEdit
from ..models.state_reader import LoadedModel, StateReader
from .corpus import Corpus
from .labels import Labels

__all__ = ["LossSums", "losses_under", "row_losses"]

Edits = Dict[str, UnitEdit]


class LossSums(NamedTuple):
    """The losses of one run over the corpus."""

    total: float
    """the sum over all rows"""
    by_label: Dict[str, numpy.ndarray]
    """track -> (L,) the sum under each label"""


def losses_under(
    model: LoadedModel,
    corpus: Corpus,
    side: str,
    changes: List[Edits],
    labels: Dict[str, Labels],
    max_tokens: int,
    progress: Optional[Callable[[int], Any]] = None,
) -> List[LossSums]:
    """The losses of each change, each of which is made in a run of its own.

    Args:
        model: the model.
        corpus: the sentences.
        side: the side whose units are set.
        changes: the edits of each run, by state.
        labels: the tracks.
        max_tokens: words in a batch, padding included.
        progress: called with the number of rows that are done.

    Returns:
        The sums of each change, of -ln p of every word; of a model without probabilities, of its negative scores.
    """
    totals = numpy.zeros(len(changes))
    sums = [{name: numpy.zeros(len(track.names)) for name, track in labels.items()} for _ in changes]
    for places in _batches(corpus, max_tokens):
        rows = _rows(corpus, places)
        parts = {name: Labels(track.names, track.codes[rows]) for name, track in labels.items()}
        losses = _batch_losses(model, corpus, places, side, changes, progress)
        for place, values in enumerate(losses):
            totals[place] += values.sum()
            for name, part in parts.items():
                sums[place][name] += part.sums(values)
    return [LossSums(float(total), by_label) for total, by_label in zip(totals, sums)]


def row_losses(model: LoadedModel, corpus: Corpus, max_tokens: int) -> numpy.ndarray:
    """(R,) float64, the losses when nothing is changed."""
    found = numpy.zeros(int(corpus.offsets[-1]))
    for places in _batches(corpus, max_tokens):
        rows = _rows(corpus, places)
        (found[rows],) = _batch_losses(model, corpus, places, "decoder", [{}], None)
    return found


def _rows(corpus: Corpus, places: List[int]) -> numpy.ndarray:
    """(n,) int64: the rows of some sentences."""
    return numpy.concatenate([numpy.arange(*corpus.offsets[place : place + 2]) for place in places])


def _batches(corpus: Corpus, max_tokens: int) -> List[List[int]]:
    """The sentences in batches of like length, by the longer side of each pair."""
    lengths = [
        max(len(words), 0 if corpus.sources is None else len(corpus.sources[place]))
        for place, words in enumerate(corpus.inputs)
    ]
    return length_batches(lengths, list(range(len(lengths))), max_tokens)


def _batch_losses(
    model: LoadedModel,
    corpus: Corpus,
    places: List[int],
    side: str,
    changes: List[Edits],
    progress: Optional[Callable[[int], Any]],
) -> List[numpy.ndarray]:
    """(r,) float64 of each change: the losses of the rows of some sentences, one sentence after the other."""
    reader, device = model.reader, model.device
    padding = model.task.source_dictionary.pad()
    inputs, lengths = _padded([corpus.inputs[place] for place in places], padding, device)  # (B, T), (B,)
    following = torch.cat([corpus.following[place] for place in places]).to(device)  # (r,)
    is_row = torch.arange(inputs.size(1), device=device) < lengths.unsqueeze(1)  # (B, T)
    found: List[numpy.ndarray] = []
    with torch.no_grad():
        sources = source_lengths = memory = None  # type: Any
        if corpus.sources is not None:
            sources, source_lengths = _padded([corpus.sources[place] for place in places], padding, device)
            memory = reader.encode(sources, source_lengths)
        for edits in changes:
            if side == "encoder":
                memory = reader.encode(sources, source_lengths, Change(edits))
            decoded = reader.decoder_states(inputs, memory, Change(edits) if side == "decoder" else UNCHANGED)
            found.append(_losses(reader, decoded.outputs[is_row], following))
            if progress is not None:
                progress(len(following))
    return found


def _losses(reader: StateReader, outputs: Tensor, following: Tensor) -> numpy.ndarray:
    """(r, H), (r,) -> (r,) float64."""
    blocks = reader.score_blocks(outputs, following)
    parts = [-scores.gather(1, words.unsqueeze(1)).squeeze(1) for scores, words in blocks]
    return torch.cat(parts).double().cpu().numpy()


def _padded(sentences: List[Tensor], padding: int, device: torch.device) -> Any:
    """(B, T) padded on the right, and lengths (B,)."""
    lengths = torch.tensor([len(words) for words in sentences], device=device)
    words = torch.nn.utils.rnn.pad_sequence(sentences, batch_first=True, padding_value=padding)
    return words.to(device), lengths
