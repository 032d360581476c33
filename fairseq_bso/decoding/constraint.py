"""A kind of constraint bound to the dictionaries of a task: it maps a fairseq batch to a ``BatchConstraint``."""

from typing import Optional

import torch
from torch import Tensor

from ..errors import UserError
from ..search.constraints import BatchConstraint, Vocabulary, constraint_factory, first_disallowed
from ..search.shortlist import ShortlistTable


class Constraint:
    """The constraint of ``--successors NAME`` for one pair of dictionaries.

    Args:
        name: the name of the constraint, not ``none``.
        source: source dictionary.
        target: target dictionary.
        shortlist: the words of each source word, for ``shortlist``.

    Raises:
        UserError: if no constraint has this name.
    """

    def __init__(self, name: str, source, target, shortlist: Optional[ShortlistTable] = None) -> None:
        try:
            self.factory = constraint_factory(name)
        except ValueError as fault:
            raise UserError(f"--successors: {fault}") from None
        self.name = name
        self.vocabulary = Vocabulary(target.symbols, target.pad(), target.eos(), target.unk(), shortlist)
        self.takes_gold = getattr(self.factory, "takes_gold", False)
        self.decides_end = getattr(self.factory, "decides_end", True)
        self.source, self.source_padding, self.source_end = source, source.pad(), source.eos()
        same = source == target or getattr(self.factory, "reads_source", False)
        ids = range(len(source)) if same else [target.index(symbol) for symbol in source.symbols]
        self.target_word = torch.tensor(list(ids))  # (source vocabulary,)

    def __call__(self, src_tokens: Tensor, gold: Optional[Tensor] = None) -> BatchConstraint:
        """The constraint of some sentences.

        Args:
            src_tokens: (B, S) int64, padded on either side.
            gold: (B, T) the targets of training, for a constraint that takes them.
        """
        if self.target_word.device != src_tokens.device:
            self.target_word = self.target_word.to(src_tokens.device)
        is_word = (src_tokens != self.source_padding) & (src_tokens != self.source_end)  # (B, S)
        order = (~is_word).long().argsort(dim=1, stable=True)  # words first: padding may be on the left
        words = self.target_word[src_tokens.gather(1, order)]
        lengths = is_word.sum(1)
        words = words.masked_fill(
            torch.arange(words.size(1), device=words.device) >= lengths.unsqueeze(1), self.vocabulary.padding
        )
        try:
            gold_argument = (gold,) if self.takes_gold and gold is not None else ()
            return self.factory(words, lengths, self.vocabulary, *gold_argument)
        except ValueError as fault:
            raise UserError(f"--successors {self.name}: {fault}") from None

    def beginning(self, src_tokens: Tensor, words: int = 8) -> str:
        """The first words of a sentence (S,), for messages: in fairseq-interactive a sentence has no number."""
        is_word = (src_tokens != self.source_padding) & (src_tokens != self.source_end)
        kept = src_tokens[is_word]
        return self.source.string(kept[:words]) + (" ..." if len(kept) > words else "")

    def bounds_length(self) -> bool:
        """Whether the constraint decides how long an output may be. Asked with an empty sentence."""
        return self(torch.tensor([[self.source_end]])).longest is not None

    def first_disallowed(self, src_tokens: Tensor, target: Tensor) -> Tensor:
        """The first word of each target (from 0) that the constraint does not allow; -1 if it allows all.

        Args:
            src_tokens: (B, S).
            target: (B, T), padded on the right.

        Returns:
            (B,).
        """
        lengths = target.ne(self.vocabulary.padding).sum(1)
        return first_disallowed(self(src_tokens), target, lengths)
