"""The two graphs that `fairseq-bso export --format onnx` writes, run by ONNX Runtime in place of numpy's network."""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from .config import ModelConfig
from .model_file import ModelFileError
from .network import Memory, State

Array = np.ndarray
FORMAT = "4"
READABLE = ("3", FORMAT)
"""3 is without shortlists"""
ENDINGS = (".encoder.onnx", ".step.onnx")
BINARY = ("sentencepiece", "shortlist")
"""entries of the metadata in base64"""
UNSEALED = "0" * 64
BEFORE_CHECKSUM = b"\x0a\x08checksum\x12\x40"  # protobuf: a key of 8 bytes, then the length of a value of 64 bytes
CHOSEN, SCORED = "chosen", "scored_rows"
"""inputs of a step for a shortlist: words, and how many rows to score over all words"""
EXTERNAL = b"\x0a\x08location\x12"  # protobuf: the key that every tensor in another file has


def prefix_of(name: str) -> Optional[str]:
    """The common start of the names of both files, given that start or either name; None if there are no such files."""
    for ending in ENDINGS:
        if name.endswith(ending):
            return name[: -len(ending)]
    return name if any(Path(name + ending).is_file() for ending in ENDINGS) and not Path(name).is_file() else None


class OnnxNetwork:
    """Encoder and decoder step in ONNX Runtime, with the interface of a Network.

    Args:
        prefix: the path of both files up to `.encoder.onnx` and `.step.onnx`.

    Raises:
        ModelFileError: ONNX Runtime is missing, a file cannot be read, was altered or was written by something else, or
            the two are not of one model.
    """

    def __init__(self, prefix: str) -> None:
        (self.encoder, first), (self.decoder, second) = (_session(prefix + ending) for ending in ENDINGS)
        if first != second:
            raise ModelFileError(f"{prefix}{ENDINGS[0]} and {prefix}{ENDINGS[1]} are not of one model: export it again")
        try:
            self.config = ModelConfig.from_json(json.loads(first["facts"]))
            self.vocabularies = {name: first[name].encode("utf-8") for name in ("source", "target")}
            for name in BINARY:
                if name in first:
                    self.vocabularies[name] = base64.b64decode(first[name])
        except (LookupError, RecursionError, ValueError) as error:
            raise ModelFileError(f"{prefix}{ENDINGS[0]} does not describe its model: {error}") from None
        self.source_words = None  # the graph does not say
        self.vocabulary_size = self.vocabularies["target"].count(b"\n") + 1
        sizes = {value.name: value.shape[-1] for value in self.decoder.get_inputs() if value.shape}
        if not isinstance(sizes.get("fed"), int):
            raise ModelFileError(f"{prefix}{ENDINGS[1]} is no step of a decoder: export it again")
        self.fed_size, self.chooses = sizes["fed"], CHOSEN in sizes
        self.output: Optional[Tuple[Array, Array]] = None  # weight (V, F) and bias (V,) in float32, made on first use

    def encode(self, sentences: Sequence[Sequence[int]]) -> Tuple[Memory, State]:
        """As `Network.encode`."""
        lengths = np.array([len(sentence) for sentence in sentences], np.int32)
        words = np.zeros((len(sentences), lengths.max()), np.int64)  # (B, S)
        for row, sentence in zip(words, sentences):
            row[: len(sentence)] = sentence
        *memory, hidden, cell = _run(self.encoder, {"words": words, "lengths": lengths})
        return Memory(*memory), State(hidden, cell, np.zeros((len(sentences), self.fed_size), np.float32))

    def step(self, words: Array, state: State, memory: Memory) -> Tuple[Array, State]:
        """As `Network.step`."""
        scores, new = self._step(words, state, memory, len(words))
        if scores.shape[1] != self.vocabulary_size:
            raise ModelFileError("the target dictionary does not fit the graph: export the model again")
        return scores, new

    def advance(self, words: Array, state: State, memory: Memory) -> State:
        """As `Network.advance`."""
        return self._step(words, state, memory, 0)[1]

    def output_rows(self, words: Array) -> Tuple[Array, Array]:
        """As `Network.output_rows`."""
        if self.output is None:
            rows = {value.name: _one_row(value) for value in self.decoder.get_inputs()}
            weight, bias = _run(self.decoder, {**rows, CHOSEN: np.arange(self.vocabulary_size)})[4:]
            self.output = np.ascontiguousarray(weight.T), bias
        weight, bias = self.output
        return weight[words], bias[words]

    def _step(self, words: Array, state: State, memory: Memory, scored: int) -> Tuple[Array, State]:
        """Scores over all words of the first `scored` rows, and the next state of all rows."""
        inputs = {"words": words.astype(np.int64), **state._asdict(), **memory._asdict()}
        if self.chooses:
            inputs.update({CHOSEN: np.zeros(0, np.int64), SCORED: np.array([scored])})
        scores, hidden, cell, fed = _run(self.decoder, inputs)[:4]
        return scores, State(hidden, cell, fed)


def seal(content: bytes) -> bytes:
    """Puts the SHA-256 of an ONNX file in the place of the 64 zeros that are its metadata's last entry, `checksum`."""
    start = _checksum_start(content)
    return content[:start] + _digest(content, start) + content[start + len(UNSEALED) :]


def _checksum_start(content: bytes) -> int:
    """The position of the checksum; -1 if there is none."""
    key = content.rfind(BEFORE_CHECKSUM)
    return -1 if key < 0 else key + len(BEFORE_CHECKSUM)


def _digest(content: bytes, start: int) -> bytes:
    """SHA-256, in hexadecimal, of an ONNX file as it was before it was sealed."""
    unsealed = content[:start] + UNSEALED.encode() + content[start + len(UNSEALED) :]
    return hashlib.sha256(unsealed).hexdigest().encode()


def _one_row(value: Any) -> Array:
    """Zeros for an input of a graph, as ONNX Runtime describes it: one row, one sentence, one word."""
    shape = [size if isinstance(size, int) else 1 for size in value.shape]
    return np.zeros(shape, np.int64 if value.type == "tensor(int64)" else np.float32)


def _run(session: Any, inputs: Dict[str, Any]) -> Any:
    """The outputs of a graph. Raises ModelFileError if it cannot be computed."""
    try:
        return session.run(None, inputs)
    except Exception as error:  # ONNX Runtime does not export their classes
        raise ModelFileError(f"the graph cannot be computed: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The first line of a message of ONNX Runtime."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _threads(onnxruntime: Any) -> Any:
    """Options of a session: as many threads as OMP_NUM_THREADS says, which ONNX Runtime does not read."""
    options, threads = onnxruntime.SessionOptions(), os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal() and int(threads) > 0:
        options.intra_op_num_threads = int(threads)
    return options


def _checked_content(path: str) -> bytes:
    """The content of an ONNX file. Raises ModelFileError unless it fits its checksum and refers to no other file."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None
    start = _checksum_start(content)
    if start < 0:
        raise ModelFileError(
            f"{path} is no whole file of this release's `fairseq-bso export --format onnx`: copy or export it again"
        )
    if content[start : start + len(UNSEALED)] != _digest(content, start):
        raise ModelFileError(
            f"{path} is damaged, or changed by another program, such as a quantizer: its checksum does not fit, copy "
            "or export it again (with --dtype int8 for small weights)"
        )
    if EXTERNAL in content:
        raise ModelFileError(f"{path} refers to weights in another file, which no export does")
    return content


def _session(path: str) -> Tuple[Any, Dict[str, str]]:
    """A graph, ready to run, and its metadata without the checksum. Only a file that fits its checksum is loaded."""
    try:
        import onnxruntime  # type: ignore
    except ImportError:
        raise ModelFileError("a model in ONNX files needs ONNX Runtime: pip install onnxruntime") from None
    content = _checked_content(path)
    try:
        session = onnxruntime.InferenceSession(content, _threads(onnxruntime), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime does not export their classes
        raise ModelFileError(f"{path} is no ONNX file that ONNX Runtime can load: {_reason(error)}") from None
    try:
        metadata = dict(session.get_modelmeta().custom_metadata_map)
    except UnicodeDecodeError:
        metadata = {}
    if metadata.get("format") not in READABLE:
        raise ModelFileError(f"{path} is not of this release's `fairseq-bso export --format onnx`: export again")
    metadata.pop("checksum", None)
    return session, metadata
