"""Shortlists: the few words that may come out for a sentence. `fairseq-bso shortlist` makes the file.

    8 bytes   b"BSOSHORT"
    4 bytes   version of the format, little-endian as all numbers here
    32 bytes  SHA-256 of everything after these
    32 bytes  SHA-256 of the source dictionary: its symbols in UTF-8, one a line
    32 bytes  SHA-256 of the target dictionary
    8 bytes   number m of common words
    8 bytes   number of source words
    words     uint32: the m common words, how many words each source word has, then these words one after another

A model file holds the same bytes in its part `shortlist`. The words of a sentence are the common words, the words of
each of its source words, and `</s>`. They depend on this sentence alone, never on a batch.
"""

import hashlib
import struct
from typing import List, NamedTuple, Sequence

import numpy as np

from .model_file import ModelFileError
from .vocabulary import END

MAGIC, VERSION = b"BSOSHORT", 1
HEAD = struct.Struct("<8sI32s32s32sQQ")
SEALED = 44  # the first byte that the checksum covers
SHORTLIST = "shortlist"

Array = np.ndarray


class Shortlist(NamedTuple):
    """Words of the target dictionary, by the source words that they translate."""

    common: Array
    """(m,) words of every sentence"""
    counts: Array
    """(V,) how many words each source word has"""
    words: Array
    """(N,) the words of the source words, one after another"""

    def to_bytes(self, source: bytes, target: bytes) -> bytes:
        """The content of a file.

        Args:
            source, target: the dictionaries, one symbol a line.
        """
        digests = [hashlib.sha256(side).digest() for side in (source, target)]
        sizes = [*digests, len(self.common), len(self.counts)]
        numbers = np.concatenate([self.common, self.counts, self.words]).astype("<u4").tobytes()
        rest = HEAD.pack(MAGIC, VERSION, bytes(32), *sizes)[SEALED:] + numbers
        return HEAD.pack(MAGIC, VERSION, hashlib.sha256(rest).digest(), *sizes) + numbers

    @classmethod
    def from_bytes(cls, content: bytes, source: bytes, target: bytes, name: str) -> "Shortlist":
        """The shortlist in the content of a file.

        Args:
            content: of the file.
            source, target: the dictionaries of the model, one symbol a line.
            name: of the file, for messages.

        Raises:
            ModelFileError: the content is truncated, altered, foreign, empty, or made for other dictionaries.
        """
        if len(content) < HEAD.size or content[:8] != MAGIC:
            raise ModelFileError(f"{name} is no shortlist: `fairseq-bso shortlist` makes one from a data folder")
        _, version, checksum, *digests, common, sources = HEAD.unpack_from(content)
        if version != VERSION:
            raise ModelFileError(
                f"{name} has format {version} of shortlists, but this release reads format {VERSION}: make it again"
            )
        if hashlib.sha256(memoryview(content)[SEALED:]).digest() != checksum:
            raise ModelFileError(
                f"{name} is damaged (truncated or altered): the checksum of its shortlist does not fit, make it again"
            )
        for side, symbols, digest in zip(("source", "target"), (source, target), digests):
            if hashlib.sha256(symbols).digest() != digest:
                raise ModelFileError(
                    f"{name} was made with another {side} dictionary than that of the model: make it again, from the "
                    "data folder of the model"
                )
        sizes = [symbols.count(b"\n") + 1 for symbols in (source, target)]
        numbers = np.frombuffer(content[HEAD.size : len(content) - (len(content) - HEAD.size) % 4], "<u4")
        return cls._checked(numbers, common, sources, sizes, name)

    @classmethod
    def _checked(cls, numbers: Array, common: int, sources: int, sizes: List[int], name: str) -> "Shortlist":
        """The shortlist in a file's numbers. Raises ModelFileError if they make no shortlist."""
        counts = numbers[common : common + sources]
        found = cls(numbers[:common], counts, numbers[common + sources :])
        ids = np.concatenate([found.common, found.words])
        fits = (len(found.common), len(counts), sources) == (common, sizes[0], sizes[0])
        if not fits or len(found.words) != counts.sum(dtype=np.uint64) or (ids >= sizes[1]).any():
            raise ModelFileError(f"{name} holds a shortlist with impossible numbers: make it again")
        if not (ids > END).any():
            raise ModelFileError(f"{name} holds a shortlist without any word: make it again with a larger --per-word")
        return found


class SentenceWords:
    """Maps a sentence to its words.

    Args:
        shortlist: of the model.
        vocabulary_size: V target words.
    """

    def __init__(self, shortlist: Shortlist, vocabulary_size: int) -> None:
        self.words = shortlist.words.astype(np.int64)
        self.ends = np.cumsum(shortlist.counts, dtype=np.int64)
        self.starts = self.ends - shortlist.counts
        self.always = np.zeros(vocabulary_size, bool)  # (V,)
        self.always[shortlist.common] = True

    def __call__(self, source: Sequence[int]) -> Array:
        """Word ids of a sentence with its `</s>` -> the ids (C,) of its words, ascending, `</s>` first."""
        inside = self.always.copy()
        for word in source[:-1]:
            inside[self.words[self.starts[word] : self.ends[word]]] = True
        inside[:END] = False
        inside[END] = True
        return np.flatnonzero(inside)
