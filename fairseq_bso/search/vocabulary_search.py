"""The best next words of prefixes in the whole vocabulary, without gradient.

The vocabulary-wide product serves only to *rank* words and to normalise. The few scores that enter the loss need one
row of ``W_out`` each (``scorer``). This module keeps the two uses apart.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..linear import HALF, ROWS, in_whole_blocks, linear, onednn_suits
from .decoder import GoldRun
from .scorer import Candidates, Scorer
from .states import State
from .topk import BLOCK, best_in_blocks, block_maxima, screen_in_blocks
from .violation_reset import BeamState

# The number of scores held at once. On a CPU, 8 MiB stay in the cache, and malloc reuses the same memory.
CPU_CHUNK, DEVICE_CHUNK = 2**21, 2**27


class BestWords(NamedTuple):
    """The best words of some prefixes by one product with the vocabulary."""

    scores: Tensor
    """(..., n) float, ``f`` of the best words, best first; ``-inf`` in places without a word"""
    words: Tensor
    """(..., n) int64; among equal scores the smaller word id comes first"""
    log_z: Optional[Tensor]
    """(...) float, ``log Z``, the logarithm of the softmax's denominator, if requested"""

    def spread(self, places: Tensor, rows: int) -> BestWords:
        """Those of R prefixes (R, n), at ``places`` (R,) of ``rows`` rows; the other rows have no word."""
        return BestWords(
            self.scores.new_full((rows, self.scores.size(1)), -torch.inf).index_copy_(0, places, self.scores),
            self.words.new_zeros(rows, self.words.size(1)).index_copy_(0, places, self.words),
            None if self.log_z is None else self.log_z.new_zeros(rows).index_copy_(0, places, self.log_z),
        )


class VocabularyProduct:
    """``f`` of all words, and the best of them.

    Args:
        scorer: the output layer; used detached.
        barred: word ids that never follow any prefix (padding); they still count in the softmax's denominator.
        dtype: the type of the V-wide product; None is the model's own. Below float32 the product only screens: the best
            ``screen * K`` of a sentence are scored again in float32, then ranked.
        screen: the number of candidates that survive a low-precision product, as a multiple of K.
    """

    def __init__(
        self, scorer: Scorer, barred: Sequence[int] = (), dtype: Optional[torch.dtype] = None, screen: int = 2
    ) -> None:
        weight, bias = scorer.weight.detach(), scorer.bias.detach().clone()
        self.barred = Scorer(weight[list(barred)], bias[list(barred)])
        bias[list(barred)] = -torch.inf
        self.exact = Scorer(weight, bias)
        rest = -weight.size(0) % BLOCK  # whole blocks: V' = V + rest; the rest never follows a prefix
        weight = weight if dtype is None else weight.to(dtype)
        self.weight = F.pad(weight, (0, 0, 0, rest)) if rest else weight  # (V', H)
        self.bias = F.pad(bias, (0, rest), value=-torch.inf).to(weight.dtype)
        self.screened = weight.dtype in HALF
        self.screen = screen
        self.buffers: Dict[torch.dtype, Tensor] = {}

    def scores(self, outputs: Tensor) -> Tensor:
        """(R, H) -> (R, V') scores in at least float32, valid until the next product.

        Ranking 16-bit numbers is slower than converting them to float32 first.
        """
        rows, outputs = outputs.size(0), outputs.detach().to(self.weight.dtype)
        if outputs.device.type != "cpu":
            scores = torch.addmm(self.bias, outputs, self.weight.t())
            return scores.float() if self.screened else scores
        if onednn_suits(outputs, self.weight):
            return linear(outputs, self.weight, self.bias)
        outputs = in_whole_blocks(outputs) if self.screened else outputs
        scores = self._buffer(outputs.size(0), self.weight.dtype)
        torch.addmm(self.bias, outputs, self.weight.t(), out=scores)
        return self._buffer(rows, torch.float32).copy_(scores[:rows]) if self.screened else scores

    def _buffer(self, rows: int, dtype: torch.dtype) -> Tensor:
        """(R, V'), the same memory at every step.

        The system allocates fresh memory page by page, which takes as long as a low-precision product.
        """
        if dtype not in self.buffers or self.buffers[dtype].size(0) < rows:
            self.buffers[dtype] = self.weight.new_empty(rows, self.bias.numel(), dtype=dtype)
        return self.buffers[dtype][:rows]

    def log_z(self, scores: Tensor, maxima: Tensor, outputs: Tensor) -> Tensor:
        """``log Z``, the logarithm of the softmax's denominator.

        Args:
            scores: (R, V') the result of ``scores``; overwritten.
            maxima: (R, V'/BLOCK) their block maxima.
            outputs: (R, H) attentional vectors, for the barred words.

        Returns:
            (R,).
        """
        highest = maxima.amax(1, keepdim=True)
        log_z = scores.sub_(highest).exp_().sum(1).log_().add_(highest.squeeze(1))
        if self.barred.bias.numel() == 0:
            return log_z
        weight, bias, outputs = (part.to(log_z.dtype) for part in (*self.barred, outputs))
        return torch.logaddexp(log_z, torch.addmm(bias, outputs, weight.t()).logsumexp(1))

    def best_words(self, outputs: Tensor, n: int, with_log_z: bool = False) -> BestWords:
        """The ``n`` best words of each single prefix: (R, H) -> BestWords (R, n)."""
        elements = CPU_CHUNK if outputs.device.type == "cpu" else DEVICE_CHUNK
        chunks = outputs.split(max(ROWS, elements // self.bias.numel() // ROWS * ROWS))
        parts = [self._best_of_chunk(chunk, n, with_log_z) for chunk in chunks]
        scores, words, log_z = zip(*parts)
        return BestWords(torch.cat(scores), torch.cat(words), torch.cat(log_z) if with_log_z else None)

    def _best_of_chunk(self, outputs: Tensor, n: int, with_log_z: bool) -> BestWords:
        """``best_words`` of few rows, whose scores (R, V') fit into memory."""
        scores = self.scores(outputs)
        maxima = block_maxima(scores)
        if not self.screened:
            values, words = best_in_blocks(scores, maxima, n)
        else:
            screened, words = screen_in_blocks(scores, maxima, n * self.screen)
            values, words = self.rescore(screened, words, n, outputs.unsqueeze(1), words)
        return BestWords(values, words, self.log_z(scores, maxima, outputs) if with_log_z else None)

    def rescore(
        self,
        screened: Tensor,
        keys: Tensor,
        k: int,
        outputs: Tensor,
        words: Tensor,
        added: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor]:
        """Ranks the candidates of the low-precision product by exact scores.

        Args:
            screened: (N, c) low-precision scores.
            keys: (N, c) the flat index of each candidate; among equal scores the smallest key comes first.
            k: the number of candidates to return, of the c.
            outputs: (N, c, H) attentional vectors of their prefixes, or (N, 1, H) if they share one prefix.
            words: (N, c).
            added: (N, c) the offsets added to the scores.

        Returns:
            scores (N, k), best first, and keys (N, k). If fewer than k exist, the rest are ``-inf`` with some key.
        """
        in_vocabulary = words.clamp(max=self.exact.bias.numel() - 1)  # the padding of the last block holds no word
        exact = self.exact.score_words(outputs, in_vocabulary)  # (N, c)
        exact = exact if added is None else exact + added
        exact = exact.masked_fill(screened == -torch.inf, -torch.inf)
        if exact.size(1) < k:
            missing = (0, k - exact.size(1))
            exact, keys = F.pad(exact, missing, value=-torch.inf), F.pad(keys, missing)
        keys, order = keys.sort(dim=1)
        scores, order = exact.gather(1, order).sort(dim=1, descending=True, stable=True)
        return scores[:, :k], keys.gather(1, order[:, :k])


def best_after_gold(product: VocabularyProduct, gold: GoldRun, n: int, with_log_z: bool) -> BestWords:
    """The ``n`` best words after every gold prefix: BestWords (T, B, n).

    Positions beyond a sentence's length have no valid score.
    """
    outputs = gold.outputs.flatten(0, 1)  # (T * B, H)
    if outputs.device.type != "cpu":
        best = product.best_words(outputs, n, with_log_z)
    else:  # rows of padding are left out
        real = gold.inside.flatten().nonzero().squeeze(1)
        best = product.best_words(outputs.index_select(0, real), n, with_log_z).spread(real, outputs.size(0))
    shape = gold.outputs.shape[:2]
    log_z = None if best.log_z is None else best.log_z.view(shape)
    return BestWords(best.scores.view(*shape, n), best.words.view(*shape, n), log_z)


class VocabularySearch:
    """Finds the best next words in the whole vocabulary: the exact search.

    Args:
        product: the output layer.
        gold: the gold run, detached.
        beam: K.
        normalized: whether local scores are log-probabilities.
    """

    gold_constraint_states: State = ()
    candidates: Optional[Tensor] = None

    def __init__(self, product: VocabularyProduct, gold: GoldRun, beam: int, normalized: bool) -> None:
        self.product, self.normalized = product, normalized
        self.best = best_after_gold(product, gold, beam, normalized)
        raw = product.exact.score_words(gold.outputs.transpose(0, 1), gold.words)  # (B, T)
        self.gold_scores = raw if self.best.log_z is None else raw - self.best.log_z.t()
        self.gold_log_z = None if product.screened else self.best.log_z

    def best_after_gold(self, k: int) -> Tuple[Tensor, Tensor]:
        """Local scores and words (T, B, k) of each gold prefix; ``k`` is at most the beam."""
        scores, words, log_z = self.best
        return (scores if log_z is None else scores - log_z.unsqueeze(2))[..., :k], words[..., :k]

    def best_of_others(self, kept: BeamState, t: int, k: int, only: Optional[int] = None) -> Candidates:
        """The best (B, k) over the other hypotheses of each sentence; ties to the smaller (slot, word)."""
        product = self.product
        scores = product.scores(kept.outputs)  # (R, V')
        maxima = block_maxima(scores)  # (R, V'/BLOCK)
        added = kept.scores.view(-1)[kept.rows.slots]  # (R,)
        if self.normalized:
            added = added - product.log_z(scores.clone(), maxima, kept.outputs)
        if only is not None:
            is_other = torch.arange(scores.size(1), device=scores.device) != only  # (V',)
            scores = scores.masked_fill(is_other, -torch.inf)
            maxima = block_maxima(scores)
        maxima = _by_slot(maxima + added.unsqueeze(1), kept)  # (B, W * V'/BLOCK)
        row_of_slot = None if kept.rows.dense else kept.rows.row_of_slot(kept.alive.size(0))
        if not product.screened:
            values, flat = best_in_blocks(scores, maxima, k, row_of_slot, added)  # (B, k)
        else:
            screened, flat = screen_in_blocks(scores, maxima, k * product.screen, row_of_slot, added)  # (B, c)
            slots, words = _slots_and_words(flat, scores)
            rows = slots + kept.rows.width * torch.arange(slots.size(0), device=slots.device).unsqueeze(1)
            rows = rows if row_of_slot is None else row_of_slot[rows]
            values, flat = product.rescore(screened, flat, k, kept.outputs[rows], words, added[rows])
        return Candidates(values, *_slots_and_words(flat, scores))

    def advance_constraint(self, states: State, words: Tensor, sentences: Tensor) -> State:
        """Without a constraint there are no states."""
        return states


def _by_slot(maxima: Tensor, kept: BeamState) -> Tensor:
    """Block maxima (R, V'/BLOCK) -> (B, W * V'/BLOCK) in the order of the beam's slots; ``-inf`` in empty slots."""
    sentences, width = kept.alive.shape
    if kept.rows.dense:
        by_slot = maxima.masked_fill(~kept.alive.view(-1, 1), -torch.inf)
    else:
        by_slot = maxima.new_full((sentences * width, maxima.size(1)), -torch.inf)
        by_slot.index_copy_(0, kept.rows.slots, maxima)
    return by_slot.view(sentences, -1)


def _slots_and_words(flat: Tensor, scores: Tensor) -> Tuple[Tensor, Tensor]:
    """Flat indices ``slot * V' + word`` into the scores (R, V') of a sentence's slots -> slots and words."""
    columns = scores.size(1)
    return flat.div(columns, rounding_mode="floor"), flat.remainder(columns)
