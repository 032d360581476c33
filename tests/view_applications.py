"""The server of `fairseq-bso view` over capture folders, without a network."""

import json

from fairseq_bso.interpret.folder.index import open_index
from fairseq_bso.interpret.folder.reader import open_capture
from fairseq_bso.interpret.view.answers import Answers
from fairseq_bso.interpret.view.server import make_app


def answers_over(capture, own=None):
    """The answers about an opened capture; ``own`` are the answers about one's own text."""
    return Answers(capture, {name: open_index(side) for name, side in capture.sides.items()}, own)


def application(folder, **options):
    """The server over a capture folder."""
    capture = open_capture(folder)
    return make_app(answers_over(capture), **options)


def ask(client, path, status=200):
    """The content of the answer to a path below /api, after a check of its status and type."""
    answer = client.get(f"/api/{path}")
    assert answer.status_code == status, answer.get_data(as_text=True)[:300]
    assert answer.content_type == "application/json; charset=utf-8"
    return json.loads(answer.get_data())
