"""Lines of text to word numbers and back, with the dictionaries and the subword model of the file."""

from typing import Dict, List

from .model_file import BadFile

PAD, END, UNKNOWN = 1, 2, 3  # of every fairseq dictionary
SPECIAL = 3  # <s>, <pad> and </s> are never written
SPACE = "\u2581"  # of sentencepiece


class Text:
    """Both sides of a model.

    Args:
        texts: `source` and `target`: the dictionaries, one symbol a line; `sentencepiece`: the subword model, if any.

    Raises:
        BadFile: if a dictionary is missing, or a subword model is there that cannot be used, or not the library that
            runs it.
    """

    def __init__(self, texts: Dict[str, bytes]) -> None:
        for side in ("source", "target"):
            if side not in texts:
                raise BadFile(f"the file holds no {side} dictionary")
        try:
            self.source_symbols, self.symbols = (
                texts[side].decode("utf-8").split("\n") for side in ("source", "target")
            )
        except UnicodeDecodeError:
            raise BadFile("the dictionaries in the file are not UTF-8") from None
        self.numbers = {symbol: number for number, symbol in enumerate(self.source_symbols)}
        self.pieces = None
        if "sentencepiece" in texts:
            try:
                from sentencepiece import SentencePieceProcessor
            except ImportError:
                raise BadFile("the file holds a subword model: pip install sentencepiece") from None
            try:
                self.pieces = SentencePieceProcessor(model_proto=texts["sentencepiece"])
            except (RuntimeError, ValueError, IndexError) as fault:
                raise BadFile(f"the subword model in the file is none of sentencepiece's: {fault}") from None

    def encode(self, line: str) -> List[int]:
        """A line -> word numbers and `</s>`."""
        words = line.split() if self.pieces is None else self.pieces.encode(line.strip(), out_type=str)
        return [*(self.numbers.get(word, UNKNOWN) for word in words), END]

    def decode(self, words: List[int]) -> str:
        """Word numbers -> a line."""
        line = " ".join(self.symbols[word] for word in words if word >= SPECIAL)
        if self.pieces is None:
            return line
        return line.replace(" ", "").replace(SPACE, " ").strip()
