"""The compact file: a model's weights, dictionaries and subword model in one, safe to read.

    8 bytes   b"BSOMODEL"
    4 bytes   version of the format, little-endian as all numbers here
    32 bytes  SHA-256 of everything after these
    8 bytes   length of the header
    header    JSON: `facts`, the ModelConfig, and `parts`, each with its name, form, length and compressed length
    parts     one after the other, each compressed by zlib

A tensor is kept whole or sparse, whichever is shorter. The sparse form is a bitmap of its non-zero elements (the first
in the lowest bit), then their values. A tensor that equals an earlier one is kept as that one's name. The format of the
values is float32, float16, or int8 with one float32 scale for each row of a matrix; a part calls it `numbers`.
Nothing in the file is executed when it is read.
"""

import hashlib
import json
import math
import struct
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np

from .config import ModelConfig
from .files import atomic_write

MAGIC, VERSION = b"BSOMODEL", 1
HEAD = struct.Struct("<8sI32sQ")
DTYPES = ("float32", "float16", "int8")
# A small file must not fill the memory. Pruned to 99%, a model in int8 takes about 200 times as much once it is read.
LARGEST_RATIO, ALWAYS_ALLOWED = 512, 2**25  # bytes in memory for each byte of the file, and bytes beside that
ITEM = {"float32": 4, "float16": 2, "int8": 1}

Check = Callable[[ModelConfig, Dict[str, Tuple[int, ...]]], None]
"""raises ValueError unless tensors of these shapes, by name, make a model"""


class ModelFileError(Exception):
    """A file that is not as it should be. The message names the file and what is wrong with it."""


class Model(NamedTuple):
    """The content of a file."""

    config: ModelConfig
    tensors: Dict[str, np.ndarray]
    """parameters by their names in the checkpoint, float32"""
    vocabularies: Dict[str, bytes]
    """`source` and `target`: dictionaries; `sentencepiece`: the subword model, if there is one"""


def write(path: Path, model: Model, dtype: str) -> int:
    """Writes a model, matrices in `dtype` and vectors in float32. Returns the size of the file."""
    parts: List[Dict[str, Any]] = []
    blobs: List[bytes] = []
    written: Dict[bytes, str] = {}
    for name, tensor in model.tensors.items():
        kept = written.setdefault(hashlib.sha256(repr(tensor.shape).encode() + tensor.tobytes()).digest(), name)
        if kept != name:
            parts.append({"name": name, "kind": "same", "of": kept, "size": 0})
            blobs.append(b"")
            continue
        form, raw = _encoded(tensor, dtype if tensor.ndim > 1 else "float32")
        parts.append({"name": name, "shape": list(tensor.shape), **form, "size": len(raw)})
        blobs.append(zlib.compress(raw, 9))
    for name, text in model.vocabularies.items():
        parts.append({"name": name, "kind": "text", "size": len(text)})
        blobs.append(zlib.compress(text, 9))
    for part, blob in zip(parts, blobs):
        part["stored"] = len(blob)
    content = {"facts": model.config.to_json(), "parts": parts}
    header = json.dumps(content, ensure_ascii=False, sort_keys=True).encode("utf-8")
    length = struct.pack("<Q", len(header))
    body = b"".join([header, *blobs])
    digest = hashlib.sha256(length + body).digest()
    with atomic_write(path) as file:
        file.write(HEAD.pack(MAGIC, VERSION, digest, len(header)) + body)
    return HEAD.size + len(body)


def read(path: Path, check: Check = lambda config, shapes: None) -> Model:
    """Reads the model in a file, tensors as float32.

    Args:
        path: of the file.
        check: called before any tensor is unpacked.

    Raises:
        ModelFileError: the file cannot be read, is truncated or altered, or is not of `fairseq-bso export`.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) < HEAD.size or content[:8] != MAGIC:
        raise ModelFileError(f"{path} is no model file: `fairseq-bso export` writes them from a checkpoint")
    _, version, digest, length = HEAD.unpack_from(content)
    if version != VERSION:
        raise ModelFileError(
            f"{path} has format {version}, but this release reads format {VERSION}: export the model again"
        )
    if hashlib.sha256(memoryview(content)[HEAD.size - 8 :]).digest() != digest:
        raise ModelFileError(
            f"{path} is damaged (truncated or altered): its checksum does not fit, copy or export it again"
        )
    try:
        return _parsed(content, length, check)
    except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError, zlib.error) as error:
        raise ModelFileError(f"{path} does not hold what its header says: {error}") from None


def _parsed(content: bytes, length: int, check: Check) -> Model:
    """The model in a file's bytes, whose header has `length` bytes."""
    header = json.loads(content[HEAD.size : HEAD.size + length].decode("utf-8"))
    config = ModelConfig.from_json(header["facts"])
    check(config, _shapes(header["parts"], len(content)))
    tensors: Dict[str, np.ndarray] = {}
    vocabularies: Dict[str, bytes] = {}
    start = HEAD.size + length
    for part in header["parts"]:
        stored, size = int(part["stored"]), int(part["size"])
        if stored < 0 or start + stored > len(content):
            raise ValueError(f"part {part['name']!r} has an impossible size")
        if part["kind"] == "same":
            tensors[part["name"]] = tensors[part["of"]]
            continue
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(content[start : start + stored], size + 1)
        if len(raw) != size:
            raise ValueError(f"part {part['name']!r} has {len(raw)} bytes or more instead of {size}")
        start += stored
        if part["kind"] == "text":
            vocabularies[part["name"]] = raw
        else:
            tensors[part["name"]] = _decoded(raw, part)
    return Model(config, tensors, vocabularies)


def _shapes(parts: List[Dict[str, Any]], file_size: int) -> Dict[str, Tuple[int, ...]]:
    """The shape of each tensor, from the header alone.

    Raises:
        ValueError: a part has another size than its form asks for, or all parts take too much memory.
    """
    shapes: Dict[str, Tuple[int, ...]] = {}
    total = 0
    for part in parts:
        name, size = str(part["name"]), int(part["size"])
        least = most = size
        if part["kind"] == "same":
            shapes[name] = shapes[part["of"]]
        elif part["kind"] != "text":
            shapes[name], least, most = _tensor_form(part)
            total += 4 * math.prod(shapes[name])
        total += size
        if not 0 <= least <= size <= most:
            raise ValueError(f"part {name!r} has an impossible size")
        if total > LARGEST_RATIO * file_size + ALWAYS_ALLOWED:
            raise ValueError(f"its parts take {total / 1e6:,.0f} MB or more, too much for {file_size:,} bytes")
    return shapes


def _tensor_form(part: Dict[str, Any]) -> Tuple[Tuple[int, ...], int, int]:
    """The shape of a tensor, and the fewest and most bytes that its part may have. Raises ValueError."""
    kind, shape, numbers = part["kind"], tuple(int(length) for length in part["shape"]), part["numbers"]
    if kind not in ("dense", "sparse") or numbers not in ITEM or min(shape, default=1) < 0:
        raise ValueError(f"part {str(part['name'])!r} has an unknown form")
    count = math.prod(shape)
    scales = 4 * shape[0] if numbers == "int8" else 0
    positions = -(-count // 8)  # a bit for each number says whether it is stored
    if kind == "sparse":
        return shape, scales + positions, scales + positions + ITEM[numbers] * count
    size = scales + ITEM[numbers] * count
    return shape, size, size


def _encoded(tensor: np.ndarray, dtype: str) -> Tuple[Dict[str, Any], bytes]:
    """A tensor -> the entries of its part that say its form, and its bytes."""
    tensor = np.ascontiguousarray(tensor, dtype="<f4")
    scales = b""
    if dtype == "int8":
        scale = np.abs(tensor).reshape(len(tensor), -1).max(1) / 127  # of each row
        scales = scale.astype("<f4").tobytes()
        rows = (-1,) + (1,) * (tensor.ndim - 1)
        steps = np.where(scale > 0, scale, 1).astype("<f4").reshape(rows)
        values = np.clip(np.rint(tensor / steps), -127, 127).astype("i1")
    else:
        values = tensor.astype({"float32": "<f4", "float16": "<f2"}[dtype])
    flat = values.ravel()
    nonzero = flat != 0
    sparse = np.packbits(nonzero, bitorder="little").tobytes() + flat[nonzero].tobytes()
    whole = flat.tobytes()
    kind, body = ("sparse", sparse) if len(sparse) < len(whole) else ("dense", whole)
    return {"kind": kind, "numbers": dtype}, scales + body


def _decoded(raw: bytes, part: Dict[str, Any]) -> np.ndarray:
    """The bytes of a part -> the tensor in float32."""
    shape, dtype = tuple(int(size) for size in part["shape"]), part["numbers"]
    count, start = math.prod(shape), 0
    scales = None
    if dtype == "int8":
        scales, start = np.frombuffer(raw, "<f4", shape[0]), 4 * shape[0]
    stored = {"float32": "<f4", "float16": "<f2", "int8": "i1"}[dtype]
    if part["kind"] == "sparse":
        bitmap = np.frombuffer(raw, np.uint8, -(-count // 8), start)
        inside = np.unpackbits(bitmap, count=count, bitorder="little").astype(bool)
        values = np.zeros(count, np.float32)
        values[inside] = np.frombuffer(raw, stored, -1, start + len(bitmap))
    else:
        values = np.frombuffer(raw, stored, -1, start).astype(np.float32)
    tensor = values.reshape(shape)
    return tensor if scales is None else tensor * scales.reshape((-1,) + (1,) * (len(shape) - 1))
