"""Reads and checks CoNLL-U files, and writes them back byte for byte except for the tree.

Lines end at a line feed only, columns at a tab only: a word may hold any other white space. Every error is one message
that names the file and the line.
"""

import gzip
import lzma
import os
import re
import runpy
import zlib
from pathlib import Path
from typing import List, NamedTuple

OPENERS = {".gz": gzip.open, ".xz": lzma.open}
COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
FORM, UPOS, HEAD, DEPREL, DEPS = map(COLUMNS.index, ("FORM", "UPOS", "HEAD", "DEPREL", "DEPS"))

# A word 3, a multiword token 3-4, an empty node 3.1 (0.1 precedes the first word).
IDENTIFIER = re.compile(r"(0|[1-9][0-9]{0,8})(?:([-.])([1-9][0-9]{0,8}))?")
ROOT = Path(__file__).resolve().parents[2]
# Read by their paths: an import of the package imports fairseq.
LOCKS = runpy.run_path(str(ROOT / "fairseq_bso" / "locks.py"))
exit_after = runpy.run_path(str(ROOT / "bso_runtime" / "endings.py"))["exit_after"]
EMPTY_NODE = re.compile(r"[0-9]+\.[0-9]+\t")
NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")  # Python reads no number of more than 4,300 digits


class Tree(NamedTuple):
    """The dependency tree of a sentence; one entry for each word."""

    heads: List[int]
    """the number of the head, from 1; 0 for the root"""
    relations: List[str]


class Sentence:
    """The words of one sentence, without multiword tokens and empty nodes.

    Args:
        path: the file, for messages.
        number: the number of the sentence in the file, from 1.
        rows: for each word, the index of its line in the file and its ten columns.
    """

    def __init__(self, path, number, rows):
        self.path, self.number, self.rows = path, number, rows

    def __len__(self):
        return len(self.rows)

    @property
    def place(self):
        """The position of the sentence, for messages."""
        line = f", line {self.rows[0][0] + 1}" if self.rows else ""
        return f"{self.path}{line} (sentence {self.number})"

    def column(self, which):
        return [columns[which] for _, columns in self.rows]

    @property
    def forms(self):
        return self.column(FORM)

    def roots(self):
        """The number of words with HEAD 0; a tree has one. Raises SystemExit if a HEAD is no number of a word."""
        return [self._head(index, columns[HEAD]) for index, columns in self.rows].count(0)

    def tree(self):
        """The tree in HEAD and DEPREL. Raises SystemExit if they are not a tree."""
        heads = [self._head(index, columns[HEAD]) for index, columns in self.rows]
        roots = heads.count(0)
        if self.rows and roots != 1:
            raise SystemExit(
                f"{self.place}: {roots} words have HEAD 0, a tree has exactly one root; correct the sentence"
            )
        cycle = find_cycle(heads)
        if cycle:
            words = short(", ".join(map(str, cycle)))
            raise SystemExit(
                f"{self.place}: no tree, the heads of the words {words} form a circle; correct one of them"
            )
        return Tree(heads, self.column(DEPREL))

    def _head(self, index, text):
        if NUMBER.fullmatch(text) is None or int(text) > len(self):
            raise SystemExit(
                f"{self.path}, line {index + 1}: HEAD is {short(text)}, but the sentence has words 1 to {len(self)} "
                "(and 0 is the root); correct it, or leave the sentence out"
            )
        return int(text)


class Treebank:
    """A whole file: its lines as they are, and its sentences."""

    def __init__(self, path, lines, sentences):
        self.path, self.lines, self.sentences = path, lines, sentences

    @property
    def nonempty(self):
        """The sentences that have a word; only those are parsed."""
        return [sentence for sentence in self.sentences if len(sentence)]

    def text(self, trees=None):
        """The file's text. If given, `trees`, one for each nonempty sentence, replace HEAD and DEPREL; DEPS is `_`.

        Empty nodes are then left out: only the enhanced dependencies of DEPS connect them with the words.
        """
        lines = list(self.lines)
        if trees is not None:
            for sentence, tree in zip(self.nonempty, trees):
                for (index, columns), head, relation in zip(sentence.rows, tree.heads, tree.relations):
                    columns = list(columns)
                    columns[HEAD], columns[DEPREL], columns[DEPS] = str(head), relation, "_"
                    lines[index] = "\t".join(columns)
            lines = [line for line in lines if not EMPTY_NODE.match(line)]
        return "\n".join(lines)


def find_cycle(heads):
    """The words (from 1) of one cycle of heads, in the order of the arcs; an empty list if there is none."""
    seen = [0] * (len(heads) + 1)  # the walk on which a word was first met
    for start in range(1, len(heads) + 1):
        word = start
        while word and not seen[word]:
            seen[word] = start
            word = heads[word - 1]
        if word and seen[word] == start:
            cycle = [word]
            while heads[cycle[-1] - 1] != word:
                cycle.append(heads[cycle[-1] - 1])
            return cycle
    return []


def read_treebank(path):
    """The Treebank of a file, plain, `.gz` or `.xz`. Trees are not checked yet.

    Raises SystemExit if the file is not CoNLL-U."""
    path = Path(path)
    try:
        with OPENERS.get(path.suffix, open)(path, "rb") as file:
            text = file.read().decode("utf-8-sig")  # without the mark that some editors put first
    except UnicodeDecodeError as problem:
        raise SystemExit(
            f"{path}: not UTF-8 text ({problem.reason} at byte {problem.start}); convert it first"
        ) from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as problem:
        raise SystemExit(f"{path}: cannot be read ({problem}); give a CoNLL-U file, plain, .gz or .xz") from None
    lines, sentences, block = text.split("\n"), [], []
    for index, line in enumerate([*lines, ""]):
        if line:
            block.append((index, line))
        elif block:
            sentences.append(read_sentence(path, len(sentences) + 1, block))
            block = []
    return Treebank(path, lines, sentences)


def read_sentence(path, number, block):
    """The Sentence of a block of (index, line); multiword tokens and empty nodes are checked and left out."""
    rows, empty, span = [], 0, 0  # words, the empty nodes since the last word, the end of the last multiword token
    for index, line in block:
        if line.startswith("#"):
            continue
        place = f"{path}, line {index + 1}"
        columns = split_columns(place, line)
        found = IDENTIFIER.fullmatch(columns[0])
        first, mark, second = (int(found[1]), found[2], int(found[3] or 0)) if found else (None, None, None)
        words = len(rows)
        if first == words + 1 and mark is None:
            rows.append((index, columns))
            empty = 0
        elif first == words + 1 and mark == "-" and first > span and second >= first:
            span = second
        elif first == words and mark == "." and second == empty + 1:
            empty += 1
        else:
            raise SystemExit(
                f"{place}: the ID {short(columns[0])} is out of order; here may stand the word {words + 1}, the empty "
                f"node {words}.{empty + 1} or a multiword token that begins with {words + 1} and overlaps no other"
            )
    if span > len(rows):
        raise SystemExit(
            f"{path}, line {block[0][0] + 1} (sentence {number}): a multiword token ends with word {span}, but the "
            f"sentence has {len(rows)}; correct its ID"
        )
    return Sentence(path, number, rows)


def short(text, most=80):
    """A text of a file as a message of one line shows it."""
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[: most + 1])
    return text if len(text) <= most else text[:most] + "..."


def counted(number, noun):
    """A number with its noun: 1 sentence, 2 sentences."""
    return f"{number} {noun}{'s' * (number != 1)}"


def split_columns(place, line):
    """The columns of a line. Raises SystemExit for a line that is not one of CoNLL-U."""
    if line.endswith("\r"):
        raise SystemExit(
            f"{place}: ends with carriage return and line feed, CoNLL-U with a line feed; convert the file"
        )
    columns = line.split("\t")
    if len(columns) != len(COLUMNS):
        raise SystemExit(
            f"{place}: {counted(len(columns), 'column')} between tabs, CoNLL-U has {len(COLUMNS)}; correct the line "
            "(a sentence ends with an empty line)"
        )
    if "" in columns:
        raise SystemExit(f"{place}: the column {COLUMNS[columns.index('')]} is empty; CoNLL-U writes _ for nothing")
    return columns


def write_text(path, text):
    """Writes a file completely or not at all, packed if its name ends in `.gz` or `.xz`.

    A lock keeps a second process from the temporary name until the first has ended."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with LOCKS["alone"](path.with_name(path.name + ".lock"), waiting=lambda: None):
            try:
                with OPENERS.get(path.suffix, open)(partial, "wb") as file:
                    file.write(text.encode("utf-8"))
                os.replace(partial, path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    except OSError as problem:
        raise SystemExit(f"{path}: cannot be written ({problem}); name a file in a folder that exists") from None
