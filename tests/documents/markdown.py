"""The parts of a Markdown document that the checks read: titles, links, anchors, code, shell commands, sentences."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Tuple

import fairseq_bso

ROOT = Path(fairseq_bso.__file__).resolve().parent.parent
FOLDERS = (".github", "docs", "findings", "tests", "user_dir_examples")
"""folders that hold documents, besides the top"""
PICTURES = (".png", ".svg", ".jpg", ".gif")

_LINK = re.compile(r"(!?)\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^()\s>]+)>?\)")
_HEADING = re.compile(r"^(#{1,6}) +(.*?)#*$")
_ASSIGNMENT = re.compile(r"[A-Z][A-Z0-9_]*=")


@dataclass(frozen=True)
class Document:
    """A Markdown file and its text."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """The document's name in messages."""
        return str(self.path.relative_to(ROOT)) if ROOT in self.path.parents else self.path.name

    def lines(self) -> List[Tuple[str, bool]]:
        """Each line, and whether it is code. Code is fenced, or indented after an empty line."""
        found: List[Tuple[str, bool]] = []
        fence, after_code_or_gap = "", True
        for line in self.text.splitlines():
            mark = re.match(r" {0,3}(```+|~~~+)", line)
            if fence:
                found.append((line, True))
                if mark and mark[1].startswith(fence):
                    fence = ""
            elif mark:
                fence = mark[1]
                found.append((line, True))
            else:
                code = bool(line.startswith("    ") and after_code_or_gap)
                found.append((line, code))
                after_code_or_gap = code or not line.strip()
        return found

    def prose(self) -> str:
        """The text without code blocks and comments."""
        text = "\n".join("" if code else line for line, code in self.lines())
        return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)

    def titles(self) -> List[str]:
        """The headings of the first level."""
        return [found[2] for found in self._headings() if len(found[1]) == 1]

    def anchors(self) -> List[str]:
        """The anchors that GitHub derives from headings; a link names one after #."""
        slugs: List[str] = []
        for found in self._headings():
            text = _LINK.sub(lambda link: link[0].split("](")[0].lstrip("!["), found[2])
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            slugs.append(f"{slug}-{slugs.count(slug)}" if slug in slugs else slug)
        return slugs

    def _headings(self) -> Iterator["re.Match[str]"]:
        for line, code in self.lines():
            found = None if code else _HEADING.match(line)
            if found:
                yield found

    def links(self) -> List[Tuple[bool, str]]:
        """For every link, whether it is a picture, and its target."""
        prose = re.sub(r"`[^`]*`(?!\]\()", lambda code: "" if "](" in code[0] else code[0], self.prose())
        return [(found[1] == "!", found[2]) for found in _LINK.finditer(prose)]

    def inline_code(self) -> List[str]:
        """The text between backquotes."""
        return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", self.prose())]

    def code_blocks(self, language: str = "") -> List[str]:
        """The fenced blocks of a language."""
        return re.findall(rf"^```{language}\n(.*?)^```", self.text, flags=re.DOTALL | re.MULTILINE)

    def commands(self) -> List[List[str]]:
        """The words of every shell command in a code block. Variables that the document sets are replaced."""
        variables, found = {}, []
        for line in _whole_lines([line if code else "" for line, code in self.lines()]):
            for name, value in variables.items():
                line = re.sub(rf"\${name}\b|\${{{name}}}", lambda _, value=value: value, line)
            try:
                words = shlex.split(line, comments=True)
            except ValueError:  # not a shell command, such as a treebank or a bibliography
                continue
            while words and _ASSIGNMENT.match(words[0]):
                name, _, value = words.pop(0).partition("=")
                variables[name] = " ".join(value.split())
            if words:
                found.append(words)
        return found

    def sentences(self) -> List[str]:
        """The sentences of running text, without headings, tables and quotations. Inline code counts as one word."""
        paragraphs, current = [], []
        for line in [*self.prose().splitlines(), ""]:
            if not line.strip() or re.match(r"\s*([#|>]|!\[)", line):
                paragraphs.append(" ".join(current))
                current = []
            elif re.match(r"\s*([-*]|\d+\.) ", line):
                paragraphs.append(" ".join(current))
                current = [re.sub(r"^\s*([-*]|\d+\.) ", "", line)]
            else:
                current.append(line.strip())
        text = "\n".join(paragraphs)
        text = re.sub(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\([^)]*\)", r"\1", text)
        text = re.sub(r"`[^`]+`", "CODE", text)
        return [part.strip() for part in re.split(r"(?<=[.!?:;])\**(?:\s+|$)|\n", text) if part and part.strip()]


def _whole_lines(lines: List[str]) -> Iterator[str]:
    """Joins lines that end in a backslash or within quotation marks with the next line."""
    waiting = ""
    for line in lines:
        line = waiting + line
        waiting = ""
        if line.rstrip().endswith("\\"):
            waiting = line.rstrip()[:-1] + " "
        elif _ASSIGNMENT.match(line.strip()) and line.count('"') % 2 and line.strip():
            waiting = line + " "
        else:
            yield line
    if waiting:
        yield waiting


def read(path: Path) -> Document:
    """Reads a document."""
    return Document(path, path.read_text(encoding="utf-8"))


def documents() -> List[Document]:
    """All documents of the repository."""
    paths = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    return [read(path) for path in sorted(paths)]
