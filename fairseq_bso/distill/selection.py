"""Which of the teacher's hypotheses of a sentence the student trains on."""

from typing import Dict, List, Optional, Sequence

import torch
from fairseq.data import data_utils
from torch import Tensor

from ..errors import BadInput
from .loss import rank_by_closeness

MODES = ("seq_kd", "seq_inter")


class Chooser:
    """Takes of each sentence's hypotheses the best.

    Args:
        mode: `seq_kd`, the best of the search come first; or `seq_inter`, those closest to gold by smoothed sentence
            BLEU on words.
        nbest: how many of them.
        max_ratio: hypotheses whose length and that of the source differ by more than this factor are dropped; 0: none.
        dictionary: of the target, whose symbols are joined to words.
        remove_bpe: how symbols are joined, as fairseq's --remove-bpe has it; None: symbols are words.

    Raises:
        BadInput: fairseq does not know this way of joining symbols.
    """

    def __init__(self, mode: str, nbest: int, max_ratio: float, dictionary, remove_bpe: Optional[str]) -> None:
        self.mode, self.nbest, self.max_ratio = mode, nbest, max_ratio
        self.dictionary, self.remove_bpe = dictionary, remove_bpe
        try:
            data_utils.post_process("a", remove_bpe)
        except NotImplementedError:
            raise BadInput(
                f"--distill-remove-bpe {remove_bpe} is not known: sentencepiece, subword_nmt and what else fairseq's "
                "--remove-bpe takes"
            ) from None

    def choose(
        self, hypotheses: Sequence[List[List[int]]], sources: Sequence[int], golds: Sequence[List[int]]
    ) -> List[List[List[int]]]:
        """Of each sentence what is kept, best first.

        Args:
            hypotheses: of each sentence the word ids of its hypotheses, with </s>, best of the search first.
            sources: lengths of the sources, with </s>.
            golds: word ids of the references, with </s>.
        """
        fitting = [
            [words for words in several if self._fits(len(words), source)]
            for several, source in zip(hypotheses, sources)
        ]
        if self.mode == "seq_inter":
            fitting = self._closest_first(fitting, golds)
        return [several[: self.nbest] for several in fitting]

    def _fits(self, length: int, source: int) -> bool:
        one, other = max(length - 1, 1), max(source - 1, 1)
        return self.max_ratio == 0 or max(one, other) <= self.max_ratio * min(one, other)

    def _closest_first(self, lists: List[List[List[int]]], golds: Sequence[List[int]]) -> List[List[List[int]]]:
        numbers: Dict[str, int] = {}
        texts = [[self._words(words, numbers, "<unk>") for words in several] for several in lists]
        # No hypothesis has this symbol: an unknown word of gold is never found.
        references = [self._words(words, numbers, "<<unk>>") for words in golds]
        beam = max(map(len, lists), default=0)
        if beam == 0:
            return lists
        rows = [words for several in texts for words in several + [[]] * (beam - len(several))]
        lengths = torch.tensor([len(words) for words in rows]).view(len(lists), beam)  # (B, K)
        stacked = _stack(rows).view(len(lists), beam, -1) if lengths.any() else torch.zeros(len(lists), beam, 0).long()
        gold_lengths = torch.tensor([len(words) for words in references])  # (B,)
        order = rank_by_closeness(stacked, lengths, _stack(references), gold_lengths).tolist()
        return [[several[k] for k in places if k < len(several)] for several, places in zip(lists, order)]

    def _words(self, ids: List[int], numbers: Dict[str, int], unknown: str) -> List[int]:
        """Numbers of the words that the symbols make up."""
        unk, end = self.dictionary.unk(), self.dictionary.eos()
        symbols = [unknown if index == unk else self.dictionary.symbols[index] for index in ids if index != end]
        text = data_utils.post_process(" ".join(symbols), self.remove_bpe)
        return [numbers.setdefault(word, len(numbers)) for word in text.split()]


def _stack(rows: List[List[int]]) -> Tensor:
    """(R, L) int64, zero beyond each row's end."""
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.int64).view(len(rows), longest)
