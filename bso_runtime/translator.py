"""The Python interface: an exported model, and lines of text in and out.

from bso_runtime import Translator

translator = Translator("model.bso")
print(translator.translate(["ein Hund läuft ."], beam=1))
"""

from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from .beam_search import SCORERS, search
from .config import ModelConfig
from .constraints import KINDS, Constraint
from .live import LENPEN, GenerationOptions
from .model_file import ModelFileError, read
from .network import Network
from .onnx_network import OnnxNetwork, prefix_of
from .shortlist import SHORTLIST, SentenceWords, Shortlist
from .vocabulary import Tokenizer
from .weights import check_shapes

UNCONSTRAINED = "none"


@dataclass(frozen=True)
class TranslationOptions:
    """The options of a translation; the command `fairseq-bso translate` has the same options."""

    beam: int = 5
    """hypotheses at a time; 1 is greedy"""
    max_len_a: float = 0.0
    """the longest output has max_len_a times the source length plus max_len_b words"""
    max_len_b: int = 200
    lenpen: float = 1.0
    """length penalty of softmax models"""
    successors: Optional[str] = None
    """which words may follow a prefix: `none`, `word_order`, `arc_standard`, or `shortlist`; None: as in training"""
    scored: bool = True
    """whether scores are wanted"""


class Translator:
    """A model that `fairseq-bso export` wrote. Several threads may use one at the same time.

    Args:
        path: of the model file, or the common start of the names of two ONNX files.

    Raises:
        ModelFileError: the model cannot be read or used.
    """

    def __init__(self, path: Union[str, Path]) -> None:
        self.path = str(path)
        prefix = prefix_of(self.path)
        if prefix is not None:
            self.network: Any = OnnxNetwork(prefix)
            vocabularies = self.network.vocabularies
        else:
            model = read(Path(path), partial(_check_shapes, self.path))
            vocabularies = model.vocabularies
            self.network = Network(model.config, model.tensors)
        self.config: ModelConfig = self.network.config
        scorer = self.config.scorer
        if scorer not in SCORERS:
            raise ModelFileError(
                f"{path} holds a model with --scorer {scorer}, but this release knows {', '.join(SCORERS)}: translate "
                "with the release that exported it"
            )
        self.tokenizer = Tokenizer(vocabularies)
        _check_words(self.path, self.network, self.tokenizer)
        self.shortlist = self._shortlist(vocabularies)

    def translate(
        self,
        lines: Sequence[str],
        beam: int = 5,
        *,
        max_len_a: float = 0.0,
        max_len_b: int = 200,
        lenpen: float = 1.0,
        shortlist: bool = False,
        successors: Optional[str] = None,
        batch_size: int = 32,
    ) -> List[str]:
        """Translates lines, those of similar length together.

        Args:
            lines: of text, one sentence each.
            beam: hypotheses at a time; 1 is greedy.
            max_len_a, max_len_b: the longest output has max_len_a times the source length plus max_len_b words.
            lenpen: length penalty of softmax models.
            shortlist: whether the words that may come out are those of the file's shortlist.
            successors: which words may follow a prefix, a name as in the command; None: as in training.
            batch_size: lines that are translated together.

        Returns:
            one translation for each line; an empty one where no hypothesis came to an end.

        Raises:
            ModelFileError: the model cannot be used with these options.
            TypeError: `lines` is one text.
            ValueError: a number is out of range.
        """
        if isinstance(lines, str):
            raise TypeError("lines is one text, but must be a list of lines")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, but must be at least 1")
        if shortlist and successors not in (None, SHORTLIST):
            raise ValueError(f"successors is {successors!r}, but shortlist=True restricts the words too: leave out one")
        successors = SHORTLIST if shortlist else successors
        options = TranslationOptions(beam, max_len_a, max_len_b, lenpen, successors, scored=False)
        sources = [self.tokenizer.encode(line) for line in lines]
        order = sorted(range(len(sources)), key=lambda index: len(sources[index]))
        run, results = self.searcher(options), [""] * len(sources)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            for index, (_, words) in zip(batch, run([sources[index] for index in batch])):
                results[index] = self.tokenizer.decode(words)
        return results

    def searcher(self, options: TranslationOptions) -> "Searcher":
        """A function that searches batches of word ids.

        Raises:
            ModelFileError: the model cannot be used with these options.
            ValueError: a number is out of range.
        """
        for name, least in (("beam", 1), ("max_len_a", 0), ("max_len_b", 0)):
            value = getattr(options, name)
            if not (isfinite(value) and value >= least):
                raise ValueError(f"{name} is {value}, but must be a finite number of at least {least}")
        if not -LENPEN <= options.lenpen <= LENPEN:
            raise ValueError(f"lenpen is {options.lenpen}, but must be a number from {-LENPEN:g} to {LENPEN:g}")
        if not SCORERS[self.config.scorer].normalized and options.lenpen != 1:
            raise ModelFileError(
                f"--lenpen is {options.lenpen}, but the raw scores of --scorer {self.config.scorer} are never divided "
                "by length, so that it has no effect: leave out --lenpen"
            )
        return Searcher(self.path, self.network, options, *self._restrictions(options.successors))

    def _restrictions(self, asked: Optional[str]) -> Tuple[Optional[Constraint], Optional[SentenceWords]]:
        """The constraint or the shortlist of `successors`, or else of the model's training.

        Raises:
            ModelFileError: there is no such constraint, or it does not fit the model.
        """
        name = self.config.successors if asked is None else asked
        if name == UNCONSTRAINED:
            return None, None
        if name == SHORTLIST and self.shortlist is None:
            trained = "" if asked is not None else f", but was trained with --successors {SHORTLIST}"
            raise ModelFileError(
                f"{self.path} holds no shortlist{trained}: export the model with --shortlist, or choose "
                f"--successors {UNCONSTRAINED}"
            )
        if name == SHORTLIST:
            return None, self.shortlist
        if name not in KINDS and asked is None:
            raise ModelFileError(
                f"the model was trained with --successors {name}, which is not known here: choose with --successors "
                f"from {UNCONSTRAINED}, {', '.join(KINDS)}"
            )
        try:
            return Constraint(name, self.tokenizer), None
        except ValueError as error:
            raise ModelFileError(f"--successors {name}: {error}") from None

    def _shortlist(self, vocabularies: Dict[str, bytes]) -> Optional[SentenceWords]:
        """The shortlist of the file, if it holds one. Raises ModelFileError if it does not fit the dictionaries."""
        if SHORTLIST not in vocabularies:
            return None
        sides = vocabularies["source"], vocabularies["target"]
        shortlist = Shortlist.from_bytes(vocabularies[SHORTLIST], *sides, self.path)
        return SentenceWords(shortlist, self.network.vocabulary_size)


class Searcher:
    """Searches with a network.

    Args:
        path: of the model, for messages.
        network: a Network or an OnnxNetwork.
        options: of the translation.
        constraint, shortlist: which words may come out.
    """

    def __init__(
        self,
        path: str,
        network: Any,
        options: TranslationOptions,
        constraint: Optional[Constraint],
        shortlist: Optional[SentenceWords],
    ) -> None:
        self.path = path
        self.network, self.constraint, self.shortlist, self.scored = network, constraint, shortlist, options.scored
        self.options = GenerationOptions(options.beam, options.max_len_a, options.max_len_b, options.lenpen)

    def __call__(self, sources: Sequence[List[int]]) -> List[Tuple[float, List[int]]]:
        """Word ids of sentences -> the best score and output of each; -inf and [] where no hypothesis ended.

        Raises ModelFileError if a score of the model is infinite or NaN."""
        try:
            # OpenBLAS with AVX-512 now and then reports an invalid operation in a product whose numbers are all right.
            with np.errstate(invalid="ignore", over="ignore"):
                finished = search(self.network, sources, self.options, self.constraint, self.shortlist, self.scored)
        except FloatingPointError as error:
            raise ModelFileError(
                f"{self.path}: {error}, so the model cannot translate: export a checkpoint whose training did not "
                "diverge"
            ) from None
        return [hypotheses[0] if hypotheses else (float("-inf"), []) for hypotheses in finished]

    def reason(self, source: List[int]) -> str:
        """Why a sentence has no output under the constraint, after the words `--successors`."""
        positions = self.network.config.max_target_positions
        if self.constraint is not None and self.constraint.too_long(source, positions):
            return f"needs an output of more words than the model's --max-target-positions {positions}"
        return "allows no end that a hypothesis on the beam reached"


def _check_shapes(name: str, config: ModelConfig, shapes: Dict[str, Tuple[int, ...]]) -> None:
    """Raises ModelFileError unless tensors of these shapes make a model."""
    try:
        check_shapes(config, shapes)
    except (LookupError, ValueError) as error:
        raise ModelFileError(f"{name} does not hold a whole model: {error}") from None


def _check_words(name: str, network: Any, tokenizer: Tokenizer) -> None:
    """Raises ModelFileError unless the dictionaries have as many words as the model."""
    for side, count, symbols in (
        ("source", network.source_words, tokenizer.source_symbols),
        ("target", network.vocabulary_size, tokenizer.target_symbols),
    ):
        if count is not None and count != len(symbols):
            raise ModelFileError(
                f"{name} holds a {side} dictionary of {len(symbols):,} words, but its model has {count:,}: export again"
            )
