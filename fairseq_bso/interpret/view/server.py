"""The web server of `fairseq-bso view`: the files of the page, and answers as JSON. It only reads."""

import ctypes
import logging
from typing import Any, Callable, Optional

import flask
import waitress
from werkzeug.exceptions import HTTPException

from ...errors import UserError
from .addresses import LONGEST
from .answers import Answers
from .fields import BadRequest, RequestFields
from .json_text import json_text
from .standalone import PAGE, standalone

__all__ = ["make_app", "serve"]

# The kinds of files that are served from the folder of the page.
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".txt": "text/plain",
    ".svg": "image/svg+xml",
}
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # options of mallopt, from malloc.h
LOOPBACK = ("127.0.0.1", "localhost", "::1")
THREADS = 64  # most threads wait for a search to begin, and quick answers must not wait with them
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_app(answers: Answers, only_loopback: bool = True) -> flask.Flask:
    """The application.

    Args:
        answers: answers requests about a capture.
        only_loopback: refuse requests under any other host name than localhost. Otherwise a foreign web page could read
            the data through a host name of its own that resolves to this machine (DNS rebinding).
    """
    app = flask.Flask("fairseq_bso_view", static_folder=None)
    app.url_map.merge_slashes = False
    if only_loopback:
        _refuse_other_hosts(app)
    _serve_answers(app, answers)
    _serve_files(app)
    _handle_errors(app)

    @app.after_request
    def add_headers(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        return response

    return app


def _refuse_other_hosts(app: flask.Flask) -> None:
    """Requests under a host name other than localhost are refused."""

    @app.before_request
    def check_host() -> None:
        host = flask.request.host
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name.strip("[]") not in LOOPBACK:
            raise BadRequest("this server answers only under the names localhost and 127.0.0.1", 403)


def _serve_answers(app: flask.Flask, answers: Answers) -> None:
    """The answers of each kind of request as JSON, and a finding as a page of its own."""

    @app.get("/api/<name>")
    def answer(name: str) -> flask.Response:
        return _json(answers.respond(name, flask.request.args.items(multi=True)))

    @app.get("/export")
    def export() -> flask.Response:
        fields = RequestFields(flask.request.args.items(multi=True))
        address = fields.optional_text("address", LONGEST) or ""
        fields.end()
        response = flask.Response(standalone(answers, address), content_type="text/html; charset=utf-8")
        response.headers["Content-Disposition"] = 'attachment; filename="finding.html"'
        return response


def _serve_files(app: flask.Flask) -> None:
    """The files of the page, looked up by name, so that no text of a request becomes a path."""
    files = {path.name: path for path in PAGE.iterdir() if path.suffix in TYPES}

    @app.get("/")
    @app.get("/page/<name>")
    def page(name: str = "index.html") -> flask.Response:
        if name not in files:
            raise BadRequest("there is no such page", 404)
        return flask.Response(files[name].read_bytes(), content_type=f"{TYPES[files[name].suffix]}; charset=utf-8")


def _handle_errors(app: flask.Flask) -> None:
    """Every error becomes JSON with one sentence."""

    @app.errorhandler(BadRequest)
    def refuse(error: BadRequest) -> flask.Response:
        return _json({"error": str(error)}, error.status)

    @app.errorhandler(HTTPException)
    def not_served(error: HTTPException) -> flask.Response:
        sentences = {404: "there is no such page", 405: "this server is only read from: GET is the one method"}
        status = error.code or 500
        return _json({"error": sentences.get(status, str(error.description))}, status)

    @app.errorhandler(OSError)
    def unreadable(error: OSError) -> flask.Response:
        logging.getLogger(__name__).error("the states cannot be read: %s", " ".join(str(error).split()))
        return _json({"error": "the states cannot be read, their file is damaged: capture them again"}, 500)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> flask.Response:
        logging.getLogger(__name__).exception("%s could not be answered", flask.request.full_path)
        return _json({"error": f"the server could not answer: {type(error).__name__}; its terminal says more"}, 500)


def _json(content: Any, status: int = 200) -> flask.Response:
    return flask.Response(json_text(content), status, content_type="application/json; charset=utf-8")


def return_large_blocks() -> None:
    """Lets glibc return the memory of large arrays at once, and share its heaps between threads.

    By default it keeps freed arrays of up to 32 MB in a heap of each thread. Other C libraries stay as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for option, value in ((M_MMAP_THRESHOLD, 2**20), (M_ARENA_MAX, 2)):
        mallopt(option, value)


def serve(answers: Answers, host: str, port: int, ready: Optional[Callable[[str], None]] = None) -> None:
    """Serves until it is interrupted.

    Args:
        answers: answers requests about a capture.
        host: the address to serve at.
        port: 0 for any free port.
        ready: called with the address of the page as soon as it can be opened.

    Raises:
        UserError: this host and port cannot be used.
    """
    return_large_blocks()
    app = make_app(answers, only_loopback=host in LOOPBACK)
    try:
        server = waitress.create_server(app, host=host, port=port, threads=THREADS, ident=None)
    except (OSError, ValueError) as error:
        raise UserError(
            f"nothing can be served at {host} port {port}: {error}; choose others by --host and --port"
        ) from None
    name = f"[{host}]" if ":" in host else host
    if ready is not None:
        ready(f"http://{name}:{getattr(server, 'effective_port', port)}/")
    try:
        server.run()
    finally:
        server.close()
