"""Pieces of bytes, which sentencepiece's `byte_fallback` makes of characters that have no piece. Imports nothing."""

import re

BYTES = re.compile(r"(?:(?<!\S)<0x[0-9A-F]{2}>(?: +|$))+")


def join_bytes(line: str) -> str:
    """A line of pieces, in which pieces of bytes are the characters that they spell.

    A byte that is part of no character becomes U+FFFD, as sentencepiece writes it. The end of a line becomes the mark
    of a word, so that a sentence stays one line.
    """
    return BYTES.sub(_characters, line)


def _characters(pieces: "re.Match[str]") -> str:
    content = bytes(int(piece[3:5], 16) for piece in pieces.group().split())
    text = re.sub("[\udc80-\udcff]", "\ufffd", content.decode("utf-8", "surrogateescape"))
    return text.replace("\n", "\u2581").replace("\r", "\u2581")
