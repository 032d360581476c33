"""Runs the model on a batch and returns one record for each sentence: its part of every dataset."""

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy
import torch
from torch import Tensor

from ..folder.lstmvis import WordTrack
from ..models.state_reader import LoadedModel, StateReader
from .options import CaptureOptions
from .sentences import Sentences

DatasetKey = Tuple[str, str]
"""a file, such as encoder/states.hdf5, and a dataset in it"""

Record = Dict[DatasetKey, numpy.ndarray]
"""one sentence: its rows of each dataset"""


class CaptureInput(NamedTuple):
    """The model and the sentences of a capture."""

    model: LoadedModel
    sentences: Sentences
    sides: Tuple[str, ...]
    """the sides to capture, encoder first"""
    tracks: Dict[str, List[WordTrack]]
    """the user's tracks, by side"""


def read_batch(source: CaptureInput, places: List[int], options: CaptureOptions) -> List[Record]:
    """The records of some sentences, in the order of `places`."""
    model, reader, sentences = source.model, source.model.reader, source.sentences
    padding, dtype = model.task.source_dictionary.pad(), _dtype(options)
    records: List[Record] = [{} for _ in places]
    memory: Any = None
    source_lengths: List[int] = []
    with torch.no_grad():
        if "encoder" in reader.sides:
            sources = [sentences.source(place) for place in places]
            source_lengths = [len(words) for words in sources]
            lengths = torch.tensor(source_lengths, device=model.device)
            words = _padded(sources, padding).to(model.device)  # (B, S)
            if "encoder" in source.sides:
                _add_states(records, "encoder", sources, reader.encoder_states(words, lengths), dtype)
            memory = reader.encode(words, lengths) if "decoder" in source.sides else None
        if "decoder" in source.sides:
            targets = [sentences.target(place) for place in places]
            _read_decoder(records, reader, targets, memory, source_lengths, options)
    return records


def _dtype(options: CaptureOptions) -> torch.dtype:
    """The type in which states and attention are written."""
    return torch.float16 if options.float16 else torch.float32


def _read_decoder(
    records: List[Record],
    reader: StateReader,
    targets: List[Tuple[Tensor, Tensor]],
    memory: Any,
    source_lengths: List[int],
    options: CaptureOptions,
) -> None:
    """Adds states, attention, losses and predictions of the decoder."""
    dictionary, dtype = reader.model.decoder.dictionary, _dtype(options)
    device = next(reader.model.parameters()).device
    inputs, following = [words for words, _ in targets], [words for _, words in targets]
    lengths = [len(words) for words in inputs]
    words = _padded(inputs, dictionary.pad()).to(device)  # (B, T)
    decoded = reader.decoder_states(words, memory)
    _add_states(records, "decoder", inputs, decoded.states, dtype)
    if decoded.attention is not None:
        attention = decoded.attention.to(dtype).cpu().numpy()  # (B, T, S)
        for row, record in enumerate(records):
            weights = attention[row, : lengths[row], : source_lengths[row]]
            record["decoder/attention.hdf5", "weights"] = weights.reshape(-1)
    is_row = torch.arange(words.size(1), device=device) < torch.tensor(lengths, device=device).unsqueeze(1)  # (B, T)
    outputs, next_words = decoded.outputs[is_row], torch.cat(following).to(device)  # (R, H), (R,)
    measures = prediction_measures(reader, outputs, next_words, options.top_k, dictionary.pad())
    for name, values in measures.items():
        parts = numpy.split(values.cpu().numpy(), numpy.cumsum(lengths)[:-1])
        for record, part in zip(records, parts):
            record["decoder/train.hdf5", name] = part


def prediction_measures(
    reader: StateReader, outputs: Tensor, words: Tensor, top_k: int, padding: int
) -> Dict[str, Tensor]:
    """The loss or score of the next word, and the top-k predictions.

    Args:
        reader: of the model.
        outputs: (R, H) decoder outputs.
        words: (R,) int64 the next words.
        top_k: number of predictions.
        padding: the id that is never predicted.

    Returns:
        `loss` (R,), -ln p of the next word; or `score` (R,), its raw score f, if the model is unnormalized. A top_k
        above 0 adds `predictions` (R, k) int32 and `prediction_scores` (R, k), best first.
    """
    parts = []
    for scores, following in reader.score_blocks(outputs, words):  # (r, V), (r,)
        of_next = scores.gather(1, following.unsqueeze(1)).squeeze(1)
        scores[:, padding] = -torch.inf
        best, ids = scores.topk(top_k, dim=1)
        parts.append((of_next if reader.unnormalized else -of_next, ids.int(), best))
    of_next, ids, best = (torch.cat(part) for part in zip(*parts))
    measures = {"score" if reader.unnormalized else "loss": of_next}
    return {**measures, "predictions": ids, "prediction_scores": best} if top_k else measures


def _add_states(
    records: List[Record], side: str, words: List[Tensor], states: Dict[str, Tensor], dtype: torch.dtype
) -> None:
    """Adds the states and word ids of one side to the records."""
    for name, values in states.items():
        array = values.to(dtype).cpu().numpy()  # (B, T, units)
        for row, record in enumerate(records):
            record[f"{side}/states.hdf5", name] = array[row, : len(words[row])]
    for record, sentence in zip(records, words):
        record[f"{side}/train.hdf5", "word_ids"] = sentence.numpy().astype(numpy.int32)


def _padded(sentences: List[Tensor], padding: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(sentences, batch_first=True, padding_value=padding)  # (B, T)
