"""One HTML file that shows one view of the page, without server or network.

The file holds the page's style and code, and the answers that the page would ask for. The modules of the page become
functions of one script, because a browser imports no module from a file on a disk.
"""

import re
from pathlib import Path
from typing import Any, Dict, List

from ...errors import UserError
from ...files import atomic_write
from .addresses import answers_of
from .answers import Answers
from .fields import BadRequest
from .json_text import json_text

__all__ = ["PAGE", "standalone", "write_page"]

PAGE = Path(__file__).resolve().parent / "page"
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'"
)
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


def standalone(answers: Answers, address: str) -> str:
    """The text of the file.

    Args:
        answers: of the capture.
        address: of the page; the part before # is ignored.

    Raises:
        BadRequest: the address has no meaning.
    """
    found = answers_of(answers, address)
    saved = {"address": "#" + address.rpartition("#")[2], "answers": found}
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    head, body = text.split("<body>")
    head = re.sub(r"\n  <(link|script)[^\n]*", "", head)
    style = f"<style>\n{_inside((PAGE / 'style.css').read_text(encoding='utf-8'), 'style')}</style>"
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    head = head.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n  {policy}')
    head = head.replace("</head>", f"  {style}\n</head>")
    data = f'<script type="application/json" id="saved">{_json(saved)}</script>'
    library = (PAGE / "d3.v7.min.js").read_text(encoding="utf-8")
    notice = (PAGE / "d3.LICENSE.txt").read_text(encoding="utf-8").replace("--", "- -")
    scripts = [
        f"<!-- d3:\n{notice}-->",
        data,
        *(f"<script>\n{_inside(script, 'script')}</script>" for script in (library, _code())),
    ]
    return f"{head}<body>{body}".replace("</body>", "\n".join([*scripts, "</body>"]))


def write_page(answers: Answers, address: str, path: str) -> int:
    """Writes the file, and returns its size in bytes.

    Raises:
        UserError: the address has no meaning, or the file cannot be written.
    """
    try:
        content = standalone(answers, address).encode("utf-8")
        with atomic_write(Path(path)) as file:
            file.write(content)
    except BadRequest as error:
        raise UserError(f"--address {address[:200]}: {error}") from None
    except OSError as error:
        raise UserError(f"--export {path} cannot be written: {error.strerror or error}") from None
    return len(content)


def _json(content: Any) -> str:
    """JSON that a script element can hold, whatever words are in it."""
    return json_text(content).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _inside(text: str, tag: str) -> str:
    """Code that must not end its element."""
    if f"</{tag}" in text.lower():
        raise ValueError(f"a file of the page holds </{tag}")
    return text


def _code() -> str:
    """All modules of the page as one script, each after those that it imports."""
    modules: Dict[str, str] = {}

    def add(name: str) -> None:
        if name in modules:
            return
        text = (PAGE / f"{name}.js").read_text(encoding="utf-8")
        modules[name] = ""  # there is no circle
        for _, other in IMPORT.findall(text):
            add(other)
        modules.pop(name)
        modules[name] = _module(name, text)

    add("main")
    order: List[str] = list(modules.values())
    return "(async () => {\nconst modules = {};\n" + "\n".join(order) + "})();\n"


def _module(name: str, text: str) -> str:
    """A module as a function that returns what it exports."""
    exported = EXPORT.findall(text)
    text = IMPORT.sub(r"const {\1} = modules.\2;", EXPORT.sub("", text))
    if re.search(r"^(import|export)\b", text, re.MULTILINE):
        raise ValueError(f"{name}.js imports or exports in a form that cannot be saved")
    return f"modules.{name} = await (async () => {{\n{text}\nreturn {{ {', '.join(exported)} }};\n}})();\n"
