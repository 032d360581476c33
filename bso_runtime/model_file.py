"""The compact file: a model's numbers, dictionaries and subword model in one, safe to read.

    8 bytes   b"BSOMODEL"
    4 bytes   version of the format, little-endian as all numbers here
    32 bytes  SHA-256 of everything after these
    8 bytes   length of the header
    header    JSON: what the model is, and of each part its name, form, place and length
    parts     one after the other, each compressed by zlib

A tensor is kept whole, or as a bitmap of its non-zero places (first place in the lowest bit) followed by the numbers
there, whichever is shorter; one that is equal to an earlier one is its name alone. Numbers are float32, float16, or
int8 with one float32 scale for each row of a matrix.
Nothing in the file is executed when it is read.
"""

import hashlib
import json
import os
import struct
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import numpy as np

MAGIC, VERSION = b"BSOMODEL", 1
HEAD = struct.Struct("<8sI32sQ")
NUMBERS = ("float32", "float16", "int8")
LARGEST = 2**34  # bytes of one part: more is no model, and would fill the memory


class BadFile(Exception):
    """The file is not what it should be: says which file, and what is wrong."""


class Model(NamedTuple):
    """What a file holds."""

    facts: Dict[str, Any]
    """JSON: sizes and kind of the model"""
    tensors: Dict[str, np.ndarray]
    """float32"""
    texts: Dict[str, bytes]
    """dictionaries and subword models"""


@contextmanager
def written_whole(path: Path, mode: str = "wb", **options: Any) -> Iterator[Any]:
    """While open, a file beside `path`, which takes its place at the end. After a fault nothing is left of it, and what
    was there before stays. Pipes and devices are written to as they are.

    Args:
        path: its folder is made if it is missing. Of a link, what it points to is written.
        mode, options: as of `open`.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and (not path.is_file() or path.parts[:2] in (("/", "dev"), ("/", "proc"))):
        with open(path, mode, **options) as file:
            yield file
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    file = open(beside, mode, **options)
    try:
        with file:
            yield file
        beside.replace(path)
    except BaseException:
        beside.unlink()
        raise


def write(
    path: Path, facts: Dict[str, Any], tensors: Dict[str, np.ndarray], texts: Dict[str, bytes], numbers: str
) -> int:
    """Writes beside `path` and renames. Matrices are kept in `numbers`, vectors in float32. Returns the file's size."""
    parts: List[Dict[str, Any]] = []
    blobs: List[bytes] = []
    written: Dict[bytes, str] = {}
    for name, tensor in tensors.items():
        kept = written.setdefault(hashlib.sha256(repr(tensor.shape).encode() + tensor.tobytes()).digest(), name)
        if kept != name:
            parts.append({"name": name, "kind": "same", "of": kept, "size": 0})
            blobs.append(b"")
            continue
        form, raw = _encoded(tensor, numbers if tensor.ndim > 1 else "float32")
        parts.append({"name": name, "shape": list(tensor.shape), **form, "size": len(raw)})
        blobs.append(zlib.compress(raw, 9))
    for name, text in texts.items():
        parts.append({"name": name, "kind": "text", "size": len(text)})
        blobs.append(zlib.compress(text, 9))
    for part, blob in zip(parts, blobs):
        part["stored"] = len(blob)
    header = json.dumps({"facts": facts, "parts": parts}, ensure_ascii=False, sort_keys=True).encode("utf-8")
    length = struct.pack("<Q", len(header))
    body = b"".join([header, *blobs])
    digest = hashlib.sha256(length + body).digest()
    with written_whole(path) as file:
        file.write(HEAD.pack(MAGIC, VERSION, digest, len(header)) + body)
    return HEAD.size + len(body)


def read(path: Path) -> Model:
    """The model in a file, tensors in float32.

    Raises:
        BadFile: it cannot be read, is truncated or altered, or was not written by `fairseq-bso export`.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as fault:
        raise BadFile(f"{path} cannot be read: {fault.strerror}") from None
    if len(content) < HEAD.size or content[:8] != MAGIC:
        raise BadFile(f"{path} is no model file: `fairseq-bso export` writes them from a checkpoint")
    _, version, digest, length = HEAD.unpack_from(content)
    if version != VERSION:
        raise BadFile(f"{path} has format {version}, but this release reads format {VERSION}: export the model again")
    if hashlib.sha256(memoryview(content)[HEAD.size - 8 :]).digest() != digest:
        raise BadFile(f"{path} is damaged (truncated or altered): its checksum does not fit, copy or export it again")
    try:
        return _parsed(content, length)
    except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError, zlib.error) as fault:
        raise BadFile(f"{path} does not hold what its header says: {fault}") from None


def _parsed(content: bytes, length: int) -> Model:
    header = json.loads(content[HEAD.size : HEAD.size + length].decode("utf-8"))
    tensors: Dict[str, np.ndarray] = {}
    texts: Dict[str, bytes] = {}
    start = HEAD.size + length
    for part in header["parts"]:
        stored, size = int(part["stored"]), int(part["size"])
        if min(stored, size) < 0 or size > LARGEST or start + stored > len(content):
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
            texts[part["name"]] = raw
        else:
            tensors[part["name"]] = _decoded(raw, part)
    return Model(header["facts"], tensors, texts)


def _encoded(tensor: np.ndarray, numbers: str) -> Tuple[Dict[str, Any], bytes]:
    """A tensor as its form and its bytes."""
    tensor = np.ascontiguousarray(tensor, dtype="<f4")
    scales = b""
    if numbers == "int8":
        scale = np.abs(tensor).reshape(len(tensor), -1).max(1) / 127  # of each row
        scales = scale.astype("<f4").tobytes()
        rows = (-1,) + (1,) * (tensor.ndim - 1)
        steps = np.where(scale > 0, scale, 1).astype("<f4").reshape(rows)
        values = np.clip(np.rint(tensor / steps), -127, 127).astype("i1")
    else:
        values = tensor.astype({"float32": "<f4", "float16": "<f2"}[numbers])
    flat = values.ravel()
    nonzero = flat != 0
    sparse = np.packbits(nonzero, bitorder="little").tobytes() + flat[nonzero].tobytes()
    whole = flat.tobytes()
    kind, body = ("sparse", sparse) if len(sparse) < len(whole) else ("dense", whole)
    return {"kind": kind, "numbers": numbers}, scales + body


def _decoded(raw: bytes, part: Dict[str, Any]) -> np.ndarray:
    """A tensor in float32 out of its bytes."""
    shape, numbers = tuple(int(size) for size in part["shape"]), part["numbers"]
    if part["kind"] not in ("dense", "sparse") or numbers not in NUMBERS or min(shape, default=1) < 0:
        raise ValueError(f"part {part['name']!r} has an unknown form")
    count, start = int(np.prod(shape, dtype=np.int64)), 0
    if count > LARGEST:
        raise ValueError(f"part {part['name']!r} has an impossible size")
    scales = None
    if numbers == "int8":
        scales, start = np.frombuffer(raw, "<f4", shape[0]), 4 * shape[0]
    dtype = {"float32": "<f4", "float16": "<f2", "int8": "i1"}[numbers]
    if part["kind"] == "sparse":
        bitmap = np.frombuffer(raw, np.uint8, -(-count // 8), start)
        places = np.unpackbits(bitmap, count=count, bitorder="little").astype(bool)
        values = np.zeros(count, np.float32)
        values[places] = np.frombuffer(raw, dtype, -1, start + len(bitmap))
    else:
        values = np.frombuffer(raw, dtype, -1, start).astype(np.float32)
    values = values.reshape(shape)
    return values if scales is None else values * scales.reshape((-1,) + (1,) * (len(shape) - 1))
