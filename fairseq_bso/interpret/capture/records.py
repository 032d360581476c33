"""The model on a batch: what the files hold of each of its sentences."""

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy
import torch
from torch import Tensor

from .sentences import Sentences
from .state_reader import StateReader

LARGEST_PRODUCT = 1 << 24  # scores of all words that are held at a time

Key = Tuple[str, str]
"""A file, such as encoder/states.hdf5, and a dataset in it."""

Record = Dict[Key, numpy.ndarray]
"""One sentence: what goes into each dataset, rows first."""


class Wanted(NamedTuple):
    """What is captured of every sentence."""

    sides: Tuple[str, ...]
    top_k: int
    """predictions for each decoder row"""
    dtype: torch.dtype
    """of states and attention"""


def read_batch(
    reader: StateReader, sentences: Sentences, places: List[int], wanted: Wanted, device: torch.device, padding: int
) -> List[Record]:
    """The records of some sentences, in the order of `places`."""
    records: List[Record] = [{} for _ in places]
    memory, source_lengths = None, []
    with torch.no_grad():
        if "encoder" in reader.sides:
            sources = [sentences.source(place) for place in places]
            source_lengths = [len(words) for words in sources]
            words, lengths = _padded(sources, padding).to(device), torch.tensor(source_lengths, device=device)
            if "encoder" in wanted.sides:
                states = reader.encoder_states(words, lengths)
                _add_states(records, "encoder", sources, states, wanted.dtype)
            memory = reader.encode(words, lengths) if "decoder" in wanted.sides else None
        if "decoder" in wanted.sides:
            _read_decoder(
                records, reader, [sentences.target(place) for place in places], memory, source_lengths, wanted
            )
    return records


def _read_decoder(
    records: List[Record],
    reader: StateReader,
    targets: List[Tuple[Tensor, Tensor]],
    memory: Any,
    source_lengths: List[int],
    wanted: Wanted,
) -> None:
    dictionary = reader.model.decoder.dictionary
    device = next(reader.model.parameters()).device
    read, following = [fed for fed, _ in targets], [words for _, words in targets]
    lengths = [len(words) for words in read]
    words = _padded(read, dictionary.pad()).to(device)  # (B, T)
    found = reader.decoder_states(words, memory)
    _add_states(records, "decoder", read, found.states, wanted.dtype)
    if found.attention is not None:
        attention = found.attention.to(wanted.dtype).cpu().numpy()  # (B, T, S)
        for row, record in enumerate(records):
            weights = attention[row, : lengths[row], : source_lengths[row]]
            record["decoder/attention.hdf5", "weights"] = weights.reshape(-1)
    is_row = torch.arange(words.size(1), device=device) < torch.tensor(lengths, device=device).unsqueeze(1)  # (B, T)
    judged = judge(reader, found.outputs[is_row], torch.cat(following).to(device), wanted.top_k, dictionary.pad())
    for name, values in judged.items():
        parts = numpy.split(values.cpu().numpy(), numpy.cumsum(lengths)[:-1])
        for record, part in zip(records, parts):
            record["decoder/train.hdf5", name] = part


def judge(reader: StateReader, outputs: Tensor, words: Tensor, top_k: int, padding: int) -> Dict[str, Tensor]:
    """How well each row predicts the next word.

    Args:
        reader: of the model.
        outputs: (R, H) decoder outputs.
        words: (R,) int64 the words that came next.
        top_k: how many predictions.
        padding: the id that is never one of them.

    Returns:
        `loss` (R,), -ln p of the next word. Of a model with raw scores `score` (R,) in its place, the f of that word
        itself. With a top_k also `predictions` (R, k) int32 and `prediction_scores` (R, k), best first.
    """
    parts = []
    size = max(1, LARGEST_PRODUCT // len(reader.model.decoder.dictionary))
    for some, following in zip(outputs.split(size), words.split(size)):
        scores = reader.scores(some)  # (r, V)
        of_next = scores.gather(1, following.unsqueeze(1)).squeeze(1)
        scores[:, padding] = -torch.inf
        best, which = scores.topk(top_k, dim=1)
        parts.append((of_next if reader.unnormalized else -of_next, which.int(), best))
    of_next, which, best = (torch.cat(part) for part in zip(*parts))
    judged = {"score" if reader.unnormalized else "loss": of_next}
    return {**judged, "predictions": which, "prediction_scores": best} if top_k else judged


def _add_states(
    records: List[Record], side: str, words: List[Tensor], states: Dict[str, Tensor], dtype: torch.dtype
) -> None:
    for name, values in states.items():
        array = values.to(dtype).cpu().numpy()  # (B, T, units)
        for row, record in enumerate(records):
            record[f"{side}/states.hdf5", name] = array[row, : len(words[row])]
    for record, sentence in zip(records, words):
        record[f"{side}/train.hdf5", "word_ids"] = sentence.numpy().astype(numpy.int32)


def _padded(sentences: List[Tensor], padding: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(sentences, batch_first=True, padding_value=padding)  # (B, T)
