"""Dropout masks that gold and all hypotheses of a sentence share at each step, for fairseq's Transformer decoders."""

from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch.nn.functional as F
from fairseq.modules import FairseqDropout, MultiheadAttention
from torch import Tensor, nn

from .temporary import replaced


class SharedDropout:
    """The masks of one update for every sentence and depth. The first pass over a decoder, along gold, draws them.

    Dropout of attention weights is not shared: it belongs to pairs of words.

    Args:
        decoder: in training mode if there is to be dropout.
        sentences: B.
        time: T, the length of gold; no word is deeper.
    """

    def __init__(self, decoder: nn.Module, sentences: int, time: int) -> None:
        inside = {
            part for module in decoder.modules() if isinstance(module, MultiheadAttention) for part in module.modules()
        }
        self.modules: List[FairseqDropout] = [
            module
            for module in decoder.modules()
            if isinstance(module, FairseqDropout) and module not in inside and module.p > 0
        ]
        self.modules = [module for module in self.modules if module.training or module.apply_during_inference]
        self.batch_first = getattr(decoder, "dropout_module", None)  # the others see the time on the first axis
        self.shape = (sentences, time)
        self.masks: Dict[Tuple[FairseqDropout, int], Tensor] = {}  # (B, T, C) of each call of a module in a pass

    @contextmanager
    def along(self, depths: Optional[Tensor] = None, sentences: Optional[Tensor] = None) -> Iterator[None]:
        """Puts the masks into a decoder's pass over words at some depths (b, L) of some sentences (b,).

        None stands for gold in order, of all sentences."""
        with ExitStack() as replacements:
            for module in self.modules:
                replacements.enter_context(replaced(module, "forward", self._pass(module, depths, sentences)))
            yield

    def _pass(self, module: FairseqDropout, depths: Optional[Tensor], sentences: Optional[Tensor]) -> Any:
        """The `forward` of a module in one pass. It counts its calls."""
        calls = 0

        def forward(x: Tensor, inplace: bool = False) -> Tensor:
            nonlocal calls
            first = module is self.batch_first
            key, calls = (module, calls), calls + 1
            if key not in self.masks:
                self.masks[key] = F.dropout(x.new_ones(*self.shape, x.size(-1)), module.p)
            mask = self.masks[key]  # (B, T, C)
            if sentences is not None:
                mask = mask.index_select(0, sentences)
            if depths is not None:
                mask = mask.gather(1, depths.unsqueeze(2).expand(-1, -1, mask.size(2)))
            return x * (mask if first else mask.transpose(0, 1))

        return forward

    def at(self, module: FairseqDropout, call: int, values: Tensor, sentences: Tensor, depth: int) -> Tensor:
        """Masks (R, C) of hypotheses of some sentences (R,) at one depth, as the pass along gold did in a call."""
        mask = self.masks.get((module, call))
        return values if mask is None else values * mask[:, depth].index_select(0, sentences)
