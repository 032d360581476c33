"""A text in the words of the model, and which of them it does not know."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy
from torch import Tensor

from ..capture.corpus import own_output
from ..capture.options import CaptureOptions
from ..capture.sentences import Samples, SentencePairs, Sentences
from ..models.state_reader import LoadedModel

__all__ = ["OwnText", "read_text"]


class OwnText(NamedTuple):
    """A sentence, or a sentence pair."""

    sentences: Sentences
    """of one sentence"""
    unknown: Dict[str, List[str]]
    """side -> the words that are not in the dictionary, each once"""


def read_text(model: LoadedModel, text: str, target: Optional[str]) -> OwnText:
    """The sentence of a text, as `fairseq-bso states` reads a line of --text and --target-text.

    A language model reads the text as one sample (--sample-break-mode eos). Without a target a translation model reads
    its own output, the best hypothesis of beam search.

    Args:
        model: the model.
        text: the sentence, with words as in the training data.
        target: the other side of a translation; None for the model's own output.
    """
    first = "decoder" if model.architecture == "lstm_lm" else "encoder"
    words, missing = _encoded(model.dictionary(first), text)
    unknown = {first: missing}
    if first == "decoder":
        lengths = numpy.array([len(words)], dtype=numpy.int64)
        return OwnText(Samples([words], lengths, model.task, "eos"), unknown)
    end = model.task.target_dictionary.eos()
    if target is None:
        return OwnText(own_output(model, SentencePairs([words], None, end), CaptureOptions()), unknown)
    targets, unknown["decoder"] = _encoded(model.dictionary("decoder"), target)
    return OwnText(SentencePairs([words], [targets], end), unknown)


def _encoded(dictionary: Any, text: str) -> Tuple[Tensor, List[str]]:
    """(n,) int64 word ids with `</s>`, and the unknown words."""
    words = dictionary.encode_line(text, add_if_not_exist=False).long()
    known = dictionary.unk()
    missing = [word for word in text.split() if dictionary.index(word) == known and word != dictionary.symbols[known]]
    return words, list(dict.fromkeys(missing))
