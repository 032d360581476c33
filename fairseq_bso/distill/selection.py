"""Selects the teacher's hypotheses that the student trains on."""

from typing import Any, Dict, List, Optional, Sequence

import torch
from fairseq.data import data_utils
from torch import Tensor

from ..errors import UserError
from .ranking import rank_by_sentence_bleu

MODES = ("seq_kd", "seq_inter")


class HypothesisSelector:
    """Selects the best hypotheses of each sentence.

    Args:
        mode: `seq_kd` keeps the order of the search; `seq_inter` sorts by smoothed sentence BLEU on words against gold.
        nbest: how many hypotheses to select.
        max_ratio: drop hypotheses that are longer or shorter than the source by more than this factor; 0: none.
        dictionary: the target dictionary, whose symbols are joined to words.
        remove_bpe: how symbols are joined, as in fairseq's --remove-bpe; None: symbols are words.

    Raises:
        UserError: if fairseq does not know this way of joining symbols.
    """

    def __init__(self, mode: str, nbest: int, max_ratio: float, dictionary: Any, remove_bpe: Optional[str]) -> None:
        self.mode, self.nbest, self.max_ratio = mode, nbest, max_ratio
        self.dictionary, self.remove_bpe = dictionary, remove_bpe
        try:
            data_utils.post_process("a", remove_bpe)
        except NotImplementedError:
            raise UserError(
                f"--distill-remove-bpe {remove_bpe} is not known: give sentencepiece, subword_nmt or another value of "
                "fairseq's --remove-bpe"
            ) from None

    def select(
        self, hypotheses: Sequence[List[List[int]]], sources: Sequence[int], golds: Sequence[List[int]]
    ) -> List[List[List[int]]]:
        """The selected hypotheses of each sentence, best first.

        Args:
            hypotheses: the word ids of the hypotheses of each sentence, with </s>, in the order of the search.
            sources: lengths of the sources, with </s>.
            golds: word ids of the references, with </s>.
        """
        fitting = [
            [words for words in nbest if self._fits(len(words), source)] for nbest, source in zip(hypotheses, sources)
        ]
        if self.mode == "seq_inter":
            fitting = self._sort_by_bleu(fitting, golds)
        return [nbest[: self.nbest] for nbest in fitting]

    def _fits(self, length: int, source: int) -> bool:
        """Whether a hypothesis of this length fits its source by `max_ratio`; both lengths include `</s>`."""
        words, source_words = max(length - 1, 1), max(source - 1, 1)
        return self.max_ratio == 0 or max(words, source_words) <= self.max_ratio * min(words, source_words)

    def _sort_by_bleu(self, lists: List[List[List[int]]], golds: Sequence[List[int]]) -> List[List[List[int]]]:
        """The hypotheses of each sentence, sorted by BLEU on words against gold, best first."""
        vocabulary: Dict[str, int] = {}
        texts = [[self._words(words, vocabulary, "<unk>") for words in nbest] for nbest in lists]
        # No hypothesis has this symbol, so an unknown word of gold never matches.
        references = [self._words(words, vocabulary, "<<unk>>") for words in golds]
        beam = max(map(len, lists), default=0)
        if beam == 0:
            return lists
        rows = [words for nbest in texts for words in nbest + [[]] * (beam - len(nbest))]
        lengths = torch.tensor([len(words) for words in rows]).view(len(lists), beam)  # (B, K)
        stacked = _stack(rows).view(len(lists), beam, -1) if lengths.any() else torch.zeros(len(lists), beam, 0).long()
        gold_lengths = torch.tensor([len(words) for words in references])  # (B,)
        order = rank_by_sentence_bleu(stacked, lengths, _stack(references), gold_lengths).tolist()
        return [[nbest[k] for k in places if k < len(nbest)] for nbest, places in zip(lists, order)]

    def _words(self, ids: List[int], vocabulary: Dict[str, int], unknown: str) -> List[int]:
        """Joins symbols to words. Returns their ids in a vocabulary that grows with new words."""
        unk, end = self.dictionary.unk(), self.dictionary.eos()
        symbols = [unknown if index == unk else self.dictionary.symbols[index] for index in ids if index != end]
        text = data_utils.post_process(" ".join(symbols), self.remove_bpe)
        return [vocabulary.setdefault(word, len(vocabulary)) for word in text.split()]


def _stack(rows: List[List[int]]) -> Tensor:
    """Rows as one tensor (R, L) int64, padded with zeros."""
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.int64).view(len(rows), longest)
