"""Files of pretrained word vectors: text with or without a header line, and word2vec's binary format.

A header is a line of two whole numbers, the count of the vectors and their size. word2vec and fastText write one, GloVe
writes none. A line is a word and its numbers. The word may hold spaces; fairseq's dictionaries have no such word.
"""

import logging
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Optional, Tuple

import numpy
import torch
from torch import nn

from ..errors import UserError, counted

__all__ = ["load_vectors", "read_vectors"]

logger = logging.getLogger(__name__)
Wanted = Callable[[str], bool]
LONGEST_WORD = 1000  # bytes of a word in word2vec's binary format
LARGEST = float(numpy.finfo(numpy.float32).max)
BOM = b"\xef\xbb\xbf"  # the mark that some editors write before UTF-8


def load_vectors(path: str, option: str, embedding: nn.Embedding, dictionary: Any) -> None:
    """Sets the rows of the words that the file holds, and logs how many it holds.

    Args:
        path: of the file.
        option: the option that names the file, for messages.
        embedding: its weight is (V, size).
        dictionary: fairseq's dictionary of V symbols.

    Raises:
        UserError: the file cannot be read, or does not hold vectors of this size.
    """
    words = {dictionary[index]: index for index in range(len(dictionary)) if index != dictionary.pad()}
    vectors = read_vectors(path, option, embedding.embedding_dim, words.__contains__)
    with torch.no_grad():
        for word, vector in vectors.items():
            embedding.weight[words[word]] = torch.from_numpy(vector)
    known = sum(words[word] >= dictionary.nspecial for word in vectors)
    message = f"{option}: {known:,} of {len(dictionary) - dictionary.nspecial:,} words found in {path}"
    if known:
        logger.info(message)
    else:
        logger.warning(f"{message}; the others start at random: is it of another language, or in another case?")


def read_vectors(path: str, option: str, size: int, wanted: Wanted) -> Dict[str, numpy.ndarray]:
    """The vectors (size,) float32 of the wanted words. The whole file is checked.

    Args:
        path: of the file.
        option: the option that names the file, for messages.
        size: of a vector.
        wanted: whether a word's vector is wanted. The last one counts where a word has several.

    Raises:
        UserError: the file cannot be read, is cut off, or holds vectors of another size.
    """
    try:
        with open(path, "rb") as file:
            return _read(file, path, size, wanted)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        fault = "does not exist" if missing else f"cannot be read ({error.strerror})"
        raise UserError(f"the embedding file {path} {fault}: correct {option}") from None


def _read(file: BinaryIO, path: str, size: int, wanted: Wanted) -> Dict[str, numpy.ndarray]:
    """``read_vectors`` of an open file."""
    header = _header(file.readline())
    if header is None:
        file.seek(0)
    elif header[1] != size:
        raise UserError(_other_size(path, header[1], size))
    records = _binary_records if header is not None and _is_binary(file) else _text_records
    found, number = {}, 0
    for word, vector in records(file, path, size, header):
        number += 1
        if wanted(word):
            found[word] = numpy.asarray(vector, dtype=numpy.float32)
    if number == 0 or header is not None and number != header[0]:
        expected = "at least one" if header is None else f"the {header[0]:,} of its first line"
        raise UserError(
            f"{path} holds {counted(number, 'vector')} instead of {expected}: take the whole file, or correct it"
        )
    return found


def _header(line: bytes) -> Optional[Tuple[int, int]]:
    """Count and size if the first line is a pair of whole numbers."""
    fields = line.removeprefix(BOM).split()
    return (int(fields[0]), int(fields[1])) if len(fields) == 2 and all(map(bytes.isdigit, fields)) else None


def _is_binary(file: BinaryIO) -> bool:
    """Whether the rest of the file is not UTF-8 text. The position in the file does not change."""
    start = file.tell()
    content = file.read(2**16)
    file.seek(start)
    try:
        content[: content.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError:
        return True
    return b"\0" in content


def _other_size(path: str, found: int, size: int) -> str:
    return f"{path} holds vectors of {found} numbers, but the model has embeddings of {size}: give the same size"


def _text_records(
    file: BinaryIO, path: str, size: int, header: Optional[Tuple[int, int]]
) -> Iterator[Tuple[str, List[float]]]:
    """Word and numbers of each line."""
    for number, line in enumerate(file, 1 if header is None else 2):
        fields = (line.removeprefix(BOM) if number == 1 else line).rsplit(None, size)
        if not fields:
            continue
        if header is None and number == 1:
            _check_size(path, line.split(), size)
        try:
            word, vector = fields[0].decode("utf-8"), [float(field) for field in fields[1:]]
            if len(vector) != size:
                raise ValueError(f"a word and {counted(len(vector), 'number')}")
            if not all(abs(value) <= LARGEST for value in vector):  # NaN neither
                raise ValueError("a number that is not finite in float32")
        except UnicodeDecodeError:
            raise UserError(f"{path}, line {number}: it is not UTF-8; convert it, as by iconv -t UTF-8") from None
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: {str(error)[:80]}; it must be a word and {size} numbers. Is the file cut off?"
            ) from None
        yield word, vector


def _check_size(path: str, fields: List[bytes], size: int) -> None:
    """Refuses a file without a header whose first line has more numbers than the model's vectors."""
    numbers = 0
    for field in reversed(fields[1:]):
        try:
            float(field)
        except ValueError:
            break
        numbers += 1
    if numbers > 0 and numbers != size and numbers == len(fields) - 1:
        raise UserError(_other_size(path, numbers, size))


def _binary_records(
    file: BinaryIO, path: str, size: int, header: Tuple[int, int]
) -> Iterator[Tuple[str, numpy.ndarray]]:
    """Word and numbers of each record: a word, a space, and little-endian float32 numbers."""
    for number in range(1, header[0] + 1):
        word = bytearray()
        while (byte := file.read(1)) not in (b" ", b"") and len(word) <= LONGEST_WORD:
            word += byte
        content = file.read(4 * size)
        vector = numpy.frombuffer(content, "<f4") if len(content) == 4 * size else None
        try:
            text = word.lstrip(b"\n").decode("utf-8")
        except UnicodeDecodeError:
            text = ""
        if byte != b" " or vector is None or not text or not numpy.isfinite(vector).all():
            raise UserError(
                f"{path}, word {number}: neither text in UTF-8 nor a vector of word2vec's binary format. Is the file "
                "cut off?"
            )
        yield text, vector
    if file.read(2).strip():
        raise UserError(f"{path}: more follows after the {header[0]:,} vectors of its first line; correct that line")
