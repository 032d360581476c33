"""Attribution of predicted words to source words and earlier target words, by gradients.

The score F of a predicted word is its log-probability, or its raw score where the model has no probabilities. F is a
function of the embedded words x_1, ..., x_n of source and target together. The baseline is x = 0, the embedding of
padding.

gradient_input   x_i . dF/dx_i, the first-order effect of scaling word i (Simonyan et al. 2013; Shrikumar et al. 2016)
integrated       x_i . the mean of dF/dx_i at a x over a from 0 to 1 (Sundararajan et al. 2017, arXiv 1703.01365). Its
                 sum over all words is F(x) - F(0), which is called completeness. The integral is a Gauss-Legendre sum.

T is the number of target words, S of source words, m of nodes of the sum.
"""

from typing import List, NamedTuple, Optional, Tuple

import numpy
import torch
from torch import Tensor

from ..models.changes import Change
from ..models.state_reader import StateReader
from .methods import METHODS

__all__ = ["Attribution", "attribute"]


class Attribution(NamedTuple):
    """The attribution of the words of R rows of a sentence."""

    source: Optional[Tensor]
    """(R, S); None for a language model"""
    target: Tensor
    """(R, T) of the words that the decoder has read; 0 for later words"""
    score: Tensor
    """(R,) F(x)"""
    baseline: Tensor
    """(R,) F(0)"""


def attribute(
    reader: StateReader,
    source: Optional[Tensor],
    inputs: Tensor,
    words: Tensor,
    method: str,
    steps: int = 16,
    rows: Optional[List[int]] = None,
) -> Attribution:
    """Attributes the scores of words to the words that the model has read.

    Args:
        reader: of the model.
        source: (S,) int64; None for a language model.
        inputs: (T,) int64, the words that the decoder reads.
        words: (T,) int64, the word at each row whose score is attributed, such as the next word.
        method: one of `METHODS`.
        steps: m >= 1 nodes of `integrated`.
        rows: the rows whose words are attributed; None for all.

    Returns:
        Attribution, on the CPU.

    Raises:
        ValueError: the method is not known, or there are fewer steps than 1.
    """
    places, weights = _nodes(method, steps)  # (m,) each
    scales = torch.cat([places, torch.tensor([0.0, 1.0])]).to(next(reader.model.parameters()))  # (m + 2,)
    weights = torch.cat([weights, torch.zeros(2)]).to(scales)
    chosen = list(range(len(inputs))) if rows is None else rows
    with torch.enable_grad():
        of_source = None if source is None else _scaled(reader, "encoder", source, scales)  # (m + 2, S, E)
        of_target = _scaled(reader, "decoder", inputs, scales)
        outputs = _outputs(reader, source, inputs, of_source, of_target)  # (m + 2, T, H)
        embedded = [side for side in (of_source, of_target) if side is not None]
        found: List[List[Tensor]] = []
        ends: List[Tensor] = []
        for row in chosen:
            scores = reader.scores(outputs[:, row])[:, words[row]]  # (m + 2,)
            gradients = torch.autograd.grad((scores * weights).sum(), embedded, retain_graph=True, allow_unused=True)
            found.append([_products(side, gradient) for side, gradient in zip(embedded, gradients)])
            ends.append(scores[-2:].detach())
    *first, target = (torch.stack(part).float().cpu() for part in zip(*found))
    baseline, score = torch.stack(ends).float().cpu().unbind(1)
    return Attribution(first[0] if first else None, target, score, baseline)


def _nodes(method: str, steps: int) -> Tuple[Tensor, Tensor]:
    """Where the gradients are taken between baseline and input, and their weights."""
    if method not in METHODS:
        raise ValueError(f"the method is {method}, but must be one of {', '.join(METHODS)}")
    if steps < 1:
        raise ValueError(f"steps is {steps}, but must be 1 or more")
    if method == "gradient_input":
        return torch.ones(1), torch.ones(1)
    places, weights = numpy.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    return torch.from_numpy((places + 1) / 2).float(), torch.from_numpy(weights / 2).float()


def _scaled(reader: StateReader, side: str, words: Tensor, scales: Tensor) -> Tensor:
    """(n,) words -> (m + 2, n, E) embedded and scaled, with gradient."""
    embedded = reader.embed(side, words.to(scales.device)).detach()  # (n, E)
    return (scales.view(-1, 1, 1) * embedded).requires_grad_(True)


def _outputs(
    reader: StateReader, source: Optional[Tensor], inputs: Tensor, of_source: Optional[Tensor], of_target: Tensor
) -> Tensor:
    """(m + 2, T, H) decoder outputs of all scaled copies of a sentence."""
    copies, device = of_target.size(0), of_target.device
    memory = None
    if source is not None:
        lengths = torch.full((copies,), len(source), device=device)
        memory = reader.encode(source.to(device).expand(copies, -1), lengths, Change(embedded=of_source))
    return reader.decoder_states(inputs.to(device).expand(copies, -1), memory, Change(embedded=of_target)).outputs


def _products(embedded: Tensor, gradient: Optional[Tensor]) -> Tensor:
    """(m + 2, n, E) each -> (n,): the sum over the nodes of gradient times input. The last copy is the input itself."""
    if gradient is None:  # a first row that reads no source, say
        return torch.zeros_like(embedded[0, :, 0])
    return (gradient.sum(0) * embedded[-1].detach()).sum(1)
