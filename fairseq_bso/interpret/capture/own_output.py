"""The model's own output, by fairseq's generator of the checkpoint's own task (constraints included)."""

from argparse import Namespace
from typing import List, Optional

import numpy
import torch
from fairseq.data import data_utils
from torch import Tensor
from tqdm import tqdm

from .loading import Loaded
from .sentences import Pairs, batches


def own_output(loaded: Loaded, sources: Pairs, beam: int, max_tokens: int, batch_size: Optional[int]) -> Pairs:
    """The same sources with the best hypothesis of each as its target. Lengths are limited by fairseq's defaults.

    Args:
        loaded: the model.
        sources: what it translates.
        beam: hypotheses.
        max_tokens: source words times beam in a batch.
        batch_size: sentences in a batch at most; None: any number.
    """
    task, model = loaded.task, loaded.reader.model
    # What the plain translation task does not know: raw scores are not divided by length.
    options = Namespace(beam=beam, unnormalized=loaded.reader.unnormalized)
    generator = task.build_generator([model], options)
    found: List[Optional[numpy.ndarray]] = [None] * len(sources)
    tokens = max(1, max_tokens // beam)
    with tqdm(total=len(sources), unit=" sentences", desc="decoding", disable=None) as progress, torch.no_grad():
        for batch in batches(sources.source_lengths, range(len(sources)), tokens, batch_size):
            sample = {"net_input": _net_input([sources.source(place) for place in batch], sources, task, loaded.device)}
            for place, hypotheses in zip(batch, generator.generate([model], sample)):
                found[place] = hypotheses[0]["tokens"].cpu().numpy().astype(numpy.int32)
            progress.update(len(batch))
    return Pairs(sources.sources, found, sources.end, mode="output")


def _net_input(words: List[Tensor], sources: Pairs, task, device: torch.device):
    """Padded on the left, as fairseq gives sources to its generator; longest first, as its `lstm` asks for."""
    padding = task.source_dictionary.pad()
    src_tokens = data_utils.collate_tokens(words, padding, sources.end, left_pad=True)  # (B, S)
    lengths = torch.tensor([len(sentence) for sentence in words])
    return {"src_tokens": src_tokens.to(device), "src_lengths": lengths.to(device)}
