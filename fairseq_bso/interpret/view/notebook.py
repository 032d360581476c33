"""One view of the page in a notebook."""

import html
from pathlib import Path
from typing import Union
from urllib.parse import urlencode

from ...errors import UserError
from ..folder.index import open_index
from ..folder.reader import open_capture
from .answers import Answers
from .fields import BadRequest
from .standalone import standalone

__all__ = ["Finding", "show"]


class Finding:
    """A view of a capture, which a notebook shows in its output.

    Args:
        page: the text of an HTML file that stands alone.
        height: of the output, in pixels.
    """

    def __init__(self, page: str, height: int):
        self.page, self.height = page, height

    def _repr_html_(self) -> str:
        """The page in a frame of its own, which has no access to the notebook."""
        style = f"width: 100%; height: {self.height}px; border: 1px solid #c6ccd5; border-radius: 6px"
        source = html.escape(self.page, quote=True)
        return f'<iframe sandbox="allow-scripts allow-downloads" style="{style}" srcdoc="{source}"></iframe>'

    def save(self, path: Union[str, Path]) -> None:
        """Writes the page to an HTML file. Raises OSError if it cannot be written."""
        Path(path).write_text(self.page, encoding="utf-8")


def show(capture: Union[str, Path], address: str = "", height: int = 640, **fields: object) -> Finding:
    """One view of a capture for a notebook.

    Args:
        capture: the folder that `fairseq-bso states` wrote.
        address: the view, as in the address of the page from # on; the default is the beginning of the select view.
        height: of the output, in pixels.
        fields: fields of the address by name, such as view="unit", unit="hidden1:3"; they replace those of `address`.

    Returns:
        Finding, which a notebook shows.

    Raises:
        UserError: the folder is no capture, or the address has no meaning.
    """
    opened = open_capture(Path(capture))
    answers = Answers(opened, {name: open_index(side) for name, side in opened.sides.items()})
    given = [part for part in address.rpartition("#")[2].split("&") if part and part.partition("=")[0] not in fields]
    place = "&".join([*given, *([urlencode({name: str(value) for name, value in fields.items()})] if fields else [])])
    try:
        return Finding(standalone(answers, place), height)
    except BadRequest as error:
        raise UserError(f"the address {place[:200]!r}: {error}") from None
