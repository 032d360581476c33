"""Answers as JSON."""

import json
from typing import Any

from .fields import BadRequest

__all__ = ["json_text"]


def json_text(content: Any) -> str:
    """The JSON of an answer.

    Raises:
        BadRequest: it holds a number that is not finite, which JSON has not.
    """
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise BadRequest(
            "the capture holds numbers here that are not finite: its file is damaged, or its model has diverged", 422
        ) from None
