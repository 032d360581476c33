"""The scorer ``f(w | prefix) = W_out h~ + b`` (Wiseman & Rush 2016, section 3.1) and the best words of many prefixes.

The vocabulary-wide product is only ever needed to *rank* words, without gradient; the few scores that enter the loss
are one row of ``W_out`` each. The two uses are apart here.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .beam import BLOCK, best_in_blocks, block_maxima, screen_in_blocks
from .products import ROWS, in_whole_blocks, linear, onednn_suits

# Scores that are alive at once. On a CPU 16 MiB stay in the cache, and in memory that malloc hands out again and again.
CPU_CHUNK, DEVICE_CHUNK = 2**22, 2**27
# The same where they are used more than once: 2 MiB.
CPU_CACHED = 2**19
HALF = (torch.float16, torch.bfloat16)


class Scorer(NamedTuple):
    """The output layer as plain tensors."""

    weight: Tensor
    """(V, H) one row per word"""
    bias: Tensor
    """(V,)"""

    def score_words(self, outputs: Tensor, words: Tensor) -> Tensor:
        """Scores of one word per row: gather and dot, never the V-wide product.

        Args:
            outputs: (..., H) attentional vectors.
            words: (...) int64 word ids.

        Returns:
            (...) scores ``f(words | prefix)``, differentiable, with a gradient that is sparse in ``weight``; float32
            also where the model is in half precision.
        """
        flat = words.reshape(-1)  # (N,)
        rows = self.weight.index_select(0, flat).view(*words.shape, self.weight.size(1))  # (..., H)
        bias = self.bias.index_select(0, flat).view(words.shape)
        if outputs.dtype in HALF:
            outputs, rows, bias = outputs.float(), rows.float(), bias.float()
        return (outputs * rows).sum(-1) + bias

    @torch.no_grad()
    def log_totals(self, outputs: Tensor, temperature: float = 1.0) -> Tensor:
        """The logarithm of the softmax's denominator, without gradient: outputs (R, H) -> (R,) float32.

        On a CPU some rows at a time, so that their V scores are still in the cache when they are added up.
        """
        elements = CPU_CACHED if outputs.device.type == "cpu" else DEVICE_CHUNK
        totals = []
        for chunk in outputs.split(max(1, elements // self.bias.numel())):
            scores = linear(chunk, self.weight, self.bias).float().div_(temperature)  # (r, V)
            highest = scores.amax(1, keepdim=True)
            totals.append(scores.sub_(highest).exp_().sum(1).log_().add_(highest.squeeze(1)))
        return torch.cat(totals)


class Candidates(NamedTuple):
    """The best successors of some prefixes, best first; a score of ``-inf`` marks an empty place."""

    scores: Tensor
    """(B, K) float"""
    slots: Tensor
    """(B, K) int64, which hypothesis of the sentence the word follows"""
    words: Tensor
    """(B, K) int64"""


class VocabularySearch:
    """Finds the best successors over the whole vocabulary, without gradient.

    Args:
        scorer: the output layer; used detached.
        barred: word ids that never follow any prefix (padding).
        dtype: of the V-wide product; None is the model's own. Below float32 the product only screens: the best
            ``screen * K`` of a sentence are scored again in float32, then ranked.
        screen: how many candidates survive a low-precision product, as a multiple of K.
    """

    gold_states: Tuple[Tensor, ...] = ()

    def __init__(
        self, scorer: Scorer, barred: Sequence[int] = (), dtype: Optional[torch.dtype] = None, screen: int = 2
    ) -> None:
        weight, bias = scorer.weight.detach(), scorer.bias.detach().clone()
        bias[list(barred)] = -torch.inf
        self.exact = Scorer(weight, bias)
        rest = -weight.size(0) % BLOCK  # whole blocks: V' = V + rest, and no prefix can be followed by the rest
        weight = weight if dtype is None else weight.to(dtype)
        self.weight = F.pad(weight, (0, 0, 0, rest)) if rest else weight  # (V', H)
        self.bias = F.pad(bias, (0, rest), value=-torch.inf).to(weight.dtype)
        self.screened = weight.dtype in HALF
        self.screen = screen
        self.rooms: Dict[torch.dtype, Tensor] = {}

    def _scores(self, outputs: Tensor) -> Tensor:
        """(R, H) -> (R, V') scores, float32 at least: ranking 16-bit numbers is slower than widening them first. What
        is in them lasts until the next product."""
        rows, outputs = outputs.size(0), outputs.detach().to(self.weight.dtype)
        if outputs.device.type != "cpu":
            scores = torch.addmm(self.bias, outputs, self.weight.t())
            return scores.float() if self.screened else scores
        if onednn_suits(outputs, self.weight):
            return linear(outputs, self.weight, self.bias)
        outputs = in_whole_blocks(outputs) if self.screened else outputs
        scores = self._room(outputs.size(0), self.weight.dtype)
        torch.addmm(self.bias, outputs, self.weight.t(), out=scores)
        return self._room(rows, torch.float32).copy_(scores[:rows]) if self.screened else scores

    def _room(self, rows: int, dtype: torch.dtype) -> Tensor:
        """(R, V'), the same memory at every step: the system hands out fresh memory page by page, which takes as long
        as a low-precision product."""
        if dtype not in self.rooms or self.rooms[dtype].size(0) < rows:
            self.rooms[dtype] = self.weight.new_empty(rows, self.bias.numel(), dtype=dtype)
        return self.rooms[dtype][:rows]

    def best_per_row(self, outputs: Tensor, k: int) -> Tuple[Tensor, Tensor]:
        """The ``k`` best words of each prefix by itself.

        Args:
            outputs: (R, H) attentional vectors.
            k: how many.

        Returns:
            scores (R, k), best first, and words (R, k). Ties go to the smaller word id.
        """
        elements = CPU_CHUNK if outputs.device.type == "cpu" else DEVICE_CHUNK
        chunks = outputs.split(max(ROWS, elements // self.bias.numel() // ROWS * ROWS))
        scores, words = zip(*(self._best_of_chunk(chunk, k) for chunk in chunks))
        return torch.cat(scores), torch.cat(words)

    def _best_of_chunk(self, outputs: Tensor, k: int) -> Tuple[Tensor, Tensor]:
        scores = self._scores(outputs)
        maxima = block_maxima(scores)
        if not self.screened:
            return best_in_blocks(scores, maxima, k)
        values, words = screen_in_blocks(scores, maxima, k * self.screen)
        return self._rescore(values, words, k, outputs.unsqueeze(1), words)

    def best_after_gold(self, outputs: Tensor, k: int) -> Tuple[Tensor, Tensor]:
        """The ``k`` best successors of every gold prefix: (T, B, H) -> scores and words (T, B, k)."""
        scores, words = self.best_per_row(outputs.flatten(0, 1), k)
        return scores.view(*outputs.shape[:2], k), words.view(*outputs.shape[:2], k)

    def best_per_sentence(
        self, outputs: Tensor, states: Tuple[Tensor, ...], slots: Optional[Tensor], alive: Tensor, k: int
    ) -> Candidates:
        """The ``k`` best successors over all hypotheses of each sentence.

        Args:
            outputs: (R, H) attentional vectors, one per hypothesis that may be extended.
            states: empty, for any word may follow any prefix.
            slots: (R,) int64 place of each row in the flat beam of ``B * W`` places; None if every place has a row.
            alive: (B, W) bool, which places hold a hypothesis that may be extended; with ``slots``, exactly those.
            k: how many.

        Returns:
            Candidates (B, k), ties to the smaller (slot, word); ``slots`` counts from 0 to W - 1.
        """
        sentences, width = alive.shape
        scores = self._scores(outputs)  # (R, V')
        maxima = block_maxima(scores)  # (R, V'/BLOCK)
        if slots is None:
            dense, row_of_slot = maxima.masked_fill(~alive.view(-1, 1), -torch.inf), None
        else:
            dense = maxima.new_full((sentences * width, maxima.size(1)), -torch.inf).index_copy_(0, slots, maxima)
            row_of_slot = slots.new_zeros(sentences * width)
            row_of_slot[slots] = torch.arange(slots.numel(), device=slots.device)
        dense, columns = dense.view(sentences, -1), scores.size(1)  # (B, W * V'/BLOCK)
        if not self.screened:
            values, flat = best_in_blocks(scores, dense, k, row_of_slot)  # (B, k)
        else:
            values, flat = screen_in_blocks(scores, dense, k * self.screen, row_of_slot)  # (B, kept)
            rows = flat.div(columns, rounding_mode="floor")
            rows = rows + width * torch.arange(sentences, device=rows.device).unsqueeze(1)
            rows = rows if row_of_slot is None else row_of_slot[rows]
            values, flat = self._rescore(values, flat, k, outputs[rows], flat.remainder(columns))
        return Candidates(values, flat.div(columns, rounding_mode="floor"), flat.remainder(columns))

    def follow(self, states: Tuple[Tensor, ...], words: Tensor, sentences: Tensor) -> Tuple[Tensor, ...]:
        """Nothing is remembered of a hypothesis."""
        return states

    def _rescore(self, screened: Tensor, keys: Tensor, k: int, outputs: Tensor, words: Tensor) -> Tuple[Tensor, Tensor]:
        """Ranks what the low-precision product kept by exact scores.

        Args:
            screened: (N, c) low-precision scores.
            keys: (N, c) where they are from; of equal scores the smallest key comes first.
            k: how many of the c are wanted.
            outputs: (N, c, H) attentional vectors of their prefixes, or (N, 1, H) if they share it.
            words: (N, c).

        Returns:
            scores (N, k), best first, and keys (N, k); ``-inf`` and some key where there are fewer than k.
        """
        in_vocabulary = words.clamp(max=self.exact.bias.numel() - 1)  # the padding of the last block holds no word
        exact = self.exact.score_words(outputs, in_vocabulary)  # (N, c)
        exact = exact.masked_fill(screened == -torch.inf, -torch.inf)
        if exact.size(1) < k:
            missing = (0, k - exact.size(1))
            exact, keys = F.pad(exact, missing, value=-torch.inf), F.pad(keys, missing)
        keys, order = keys.sort(dim=1)
        scores, order = exact.gather(1, order).sort(dim=1, descending=True, stable=True)
        return scores[:, :k], keys.gather(1, order[:, :k])
