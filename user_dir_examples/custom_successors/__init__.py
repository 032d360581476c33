"""A user-dir with its own constraint, for ``--successors same_length``."""

import torch

from fairseq_bso import BatchConstraint, register_successors


class SameLength(BatchConstraint):
    """Outputs of any words, as many as the source has: tagging, or rewriting word by word."""

    def __init__(self, words, lengths, vocabulary):
        everything = torch.arange(len(vocabulary.symbols), device=words.device)
        no_words = torch.tensor([vocabulary.padding, *vocabulary.starting_with("<s>")], device=words.device)
        candidates = everything[~torch.isin(everything, no_words)].unsqueeze(0)  # (1, C): the same for all sentences
        super().__init__(candidates, vocabulary.padding, longest=lengths + 1)
        self.lengths, self.is_end = lengths, candidates == vocabulary.end

    def start(self):
        return (torch.zeros_like(self.lengths),)  # (B,) words so far

    def allowed(self, state, sentences):
        complete = state[0] == self.lengths[sentences]  # (N,)
        return self.is_end == complete.unsqueeze(1)  # (N, C): </s> when complete, any other word before

    def advance(self, state, words, sentences):
        return (state[0] + 1,)


register_successors("same_length", SameLength)
