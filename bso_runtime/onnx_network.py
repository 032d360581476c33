"""The two graphs that `fairseq-bso export --format onnx` writes, run by ONNX Runtime in place of numpy's network."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from .model_file import BadFile
from .network import Memory, State

Array = np.ndarray
FORMAT = "3"
ENDINGS = (".encoder.onnx", ".step.onnx")
UNSEALED = "0" * 64
BEFORE_CHECKSUM = b"\x0a\x08checksum\x12\x40"  # protobuf: a key of 8 bytes, and that a value of 64 follows


def prefix_of(name: str) -> Optional[str]:
    """What the names of both files begin with, given that or the name of either; None if no such files are meant."""
    for ending in ENDINGS:
        if name.endswith(ending):
            return name[: -len(ending)]
    return name if any(Path(name + ending).is_file() for ending in ENDINGS) and not Path(name).is_file() else None


class OnnxNetwork:
    """Encoder and decoder step in ONNX Runtime, with what a Network has.

    Args:
        prefix: the path of both files up to `.encoder.onnx` and `.step.onnx`.

    Raises:
        BadFile: if there is no ONNX Runtime, a file cannot be read, was altered or was written by something else, or
            the two are not of one model.
    """

    def __init__(self, prefix: str) -> None:
        (self.encoder, first), (self.decoder, second) = (_session(prefix + ending) for ending in ENDINGS)
        if first != second:
            raise BadFile(f"{prefix}{ENDINGS[0]} and {prefix}{ENDINGS[1]} are not of one model: export it again")
        self.facts = json.loads(first["facts"])
        self.texts = {name: first[name].encode("utf-8") for name in ("source", "target")}
        if "sentencepiece" in first:
            self.texts["sentencepiece"] = base64.b64decode(first["sentencepiece"])
        self.vocabulary = self.texts["target"].count(b"\n") + 1

    def encode(self, sentences: Sequence[Sequence[int]]) -> Tuple[Memory, State]:
        """Word numbers of B sentences -> their memory and the state of one hypothesis without words for each."""
        lengths = np.array([len(one) for one in sentences], np.int32)
        words = np.zeros((len(sentences), lengths.max()), np.int64)  # (B, S)
        for row, sentence in zip(words, sentences):
            row[: len(sentence)] = sentence
        *memory, hidden, cell = self.encoder.run(None, {"words": words, "lengths": lengths})
        return Memory(*memory), State(hidden, cell, np.zeros_like(hidden[0]))

    def step(self, words: Array, state: State, memory: Memory) -> Tuple[Array, State]:
        """The last words (R,) of R hypotheses, as many of each sentence -> scores f (R, V) and the next state."""
        given: Dict[str, Any] = {"words": words.astype(np.int64), **state._asdict(), **memory._asdict()}
        scores, *state = self.decoder.run(None, given)
        return scores, State(*state)


def seal(content: bytes) -> bytes:
    """An ONNX file whose metadata end with `checksum`, 64 zeros -> the same with its SHA-256 in their place."""
    start = _checksum_start(content)
    return content[:start] + _digest(content, start) + content[start + len(UNSEALED) :]


def _checksum_start(content: bytes) -> int:
    """Where the checksum stands; -1 if there is none."""
    found = content.rfind(BEFORE_CHECKSUM)
    return -1 if found < 0 else found + len(BEFORE_CHECKSUM)


def _digest(content: bytes, start: int) -> bytes:
    """SHA-256, in hexadecimal, of an ONNX file as it was before it was sealed."""
    unsealed = content[:start] + UNSEALED.encode() + content[start + len(UNSEALED) :]
    return hashlib.sha256(unsealed).hexdigest().encode()


def _session(path: str) -> Tuple[Any, Dict[str, str]]:
    """A graph, ready to run, and what its metadata say of the model."""
    try:
        import onnxruntime
    except ImportError:
        raise BadFile("a model in ONNX files needs ONNX Runtime: pip install onnxruntime") from None
    try:
        content = Path(path).read_bytes()
    except OSError as fault:
        raise BadFile(f"{path} cannot be read: {fault.strerror}") from None
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as fault:  # of classes that ONNX Runtime does not export
        reason = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
        raise BadFile(f"{path} is no ONNX file that ONNX Runtime can load: {reason}") from None
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    if metadata.get("format") != FORMAT:
        raise BadFile(f"{path} is not of this release's `fairseq-bso export --format onnx`: export again")
    if metadata.pop("checksum", "").encode() != _digest(content, _checksum_start(content)):
        raise BadFile(f"{path} is damaged (altered): its checksum does not fit, copy or export it again")
    return session, metadata
