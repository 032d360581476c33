"""Lines of text to word ids and back, with the dictionaries and the subword model of a file."""

from itertools import groupby
from typing import Any, Dict, FrozenSet, List, Sequence

from .model_file import ModelFileError

PAD, END, UNKNOWN = 1, 2, 3  # in every fairseq dictionary
SPECIAL = 3  # ids below are <s>, <pad> and </s>, which are never written
SPACE = "\u2581"  # sentencepiece writes it for a space
BYTE = "<0x"  # how the pieces of `byte_fallback` start, each of which is one byte of UTF-8


class Tokenizer:
    """Lines of text to word ids and back, on the source and the target side of a model.

    Args:
        vocabularies: `source` and `target`: the dictionaries, one symbol a line. `sentencepiece`: the subword model, if
            there is one.

    Raises:
        ModelFileError: a dictionary is missing, the subword model cannot be used, or its library is not installed.
    """

    def __init__(self, vocabularies: Dict[str, bytes]) -> None:
        for side in ("source", "target"):
            if side not in vocabularies:
                raise ModelFileError(f"the file holds no {side} dictionary")
        try:
            self.source_symbols, self.target_symbols = (
                vocabularies[side].decode("utf-8").split("\n") for side in ("source", "target")
            )
        except UnicodeDecodeError:
            raise ModelFileError("the dictionaries in the file are not UTF-8") from None
        self.source_ids = {symbol: word for word, symbol in enumerate(self.source_symbols)}
        self.pieces: Any = None
        self.byte_pieces: FrozenSet[str] = frozenset()
        if "sentencepiece" in vocabularies:
            try:
                from sentencepiece import SentencePieceProcessor
            except ImportError:
                raise ModelFileError("the file holds a subword model: pip install sentencepiece") from None
            try:
                self.pieces = SentencePieceProcessor(model_proto=vocabularies["sentencepiece"])
            except (RuntimeError, ValueError, IndexError) as error:
                raise ModelFileError(f"the subword model in the file is none of sentencepiece's: {error}") from None
            self.byte_pieces = frozenset(filter(self._is_byte, self.target_symbols))

    def _is_byte(self, symbol: str) -> bool:
        """Whether a symbol is a piece of one byte. A user's own symbol may look like one."""
        return symbol.startswith(BYTE) and self.pieces.is_byte(self.pieces.piece_to_id(symbol))

    def encode(self, line: str) -> List[int]:
        """A line -> its word ids and `</s>`."""
        words = line.split() if self.pieces is None else self.pieces.encode(line.strip(), out_type=str)
        return [*(self.source_ids.get(word, UNKNOWN) for word in words), END]

    def decode(self, words: Sequence[int]) -> str:
        """Word ids -> a line. Pieces of bytes become the characters that they spell, U+FFFD where they spell none."""
        symbols = [self.target_symbols[word] for word in words if word >= SPECIAL]
        if self.pieces is None:
            return " ".join(symbols)
        line = "".join(
            self.pieces.decode(list(run)) if of_bytes else "".join(run).replace(SPACE, " ")
            for of_bytes, run in groupby(symbols, self.byte_pieces.__contains__)
        )
        return line.replace("\n", " ").replace("\r", " ").strip()  # an output is one line
