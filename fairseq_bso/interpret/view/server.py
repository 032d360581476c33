"""The web server of `fairseq-bso view`: the page's own files, and the answers of queries.py as JSON. It only reads."""

import json
import logging
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import flask
import waitress
from werkzeug.exceptions import HTTPException

from ...errors import BadInput
from ..folder.reader import Capture
from .answers import Queries
from .fields import Fields, Refused

__all__ = ["make_app", "serve"]

PAGE = Path(__file__).resolve().parent / "page"
# What is given out of the page's folder.
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".txt": "text/plain",
    ".svg": "image/svg+xml",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
THREADS = 64  # most of them wait for their turn to search, and quick answers must not wait with them
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_app(capture: Capture, queries: Queries, only_loopback: bool = True) -> flask.Flask:
    """The application. With `only_loopback`, requests that came by another name of this machine are refused: a page of
    a stranger could else read the data through a name of its own that leads here."""
    app = flask.Flask("fairseq_bso_view", static_folder=None)
    app.url_map.merge_slashes = False
    answers: Dict[str, Callable[[Fields], Any]] = {
        name: getattr(queries, name)
        for name in ("info", "context", "select", "match", "search", "sentence", "statistics")
    }

    # By name, so that no text of a request ever becomes a path.
    files = {path.name: path for path in PAGE.iterdir() if path.suffix in TYPES}

    @app.before_request
    def check_host() -> None:
        host = flask.request.host
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if only_loopback and name.strip("[]") not in LOOPBACK:
            raise Refused("this server answers only under the names localhost and 127.0.0.1", 403)

    @app.get("/api/<name>")
    def answer(name: str) -> flask.Response:
        if name not in answers:
            raise Refused(f"there is no /api/{name[:40]}; there are {', '.join(answers)}", 404)
        fields = Fields(flask.request.args.items(multi=True))
        return _json(answers[name](fields))

    @app.get("/")
    @app.get("/page/<name>")
    def page(name: str = "index.html") -> flask.Response:
        if name not in files:
            raise Refused("there is no such page", 404)
        return flask.Response(files[name].read_bytes(), content_type=f"{TYPES[files[name].suffix]}; charset=utf-8")

    @app.errorhandler(Refused)
    def refused(fault: Refused) -> flask.Response:
        return _json({"error": str(fault)}, fault.status)

    @app.errorhandler(HTTPException)
    def not_served(fault: HTTPException) -> flask.Response:
        allowed = {404: "there is no such page", 405: "this server is only read from: GET is the one method"}
        return _json({"error": allowed.get(fault.code, str(fault.description))}, fault.code)

    @app.errorhandler(Exception)
    def failed(fault: Exception) -> flask.Response:
        logging.getLogger(__name__).exception("%s could not be answered", flask.request.full_path)
        return _json({"error": f"the server could not answer: {type(fault).__name__}; its terminal says more"}, 500)

    @app.after_request
    def add_headers(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        return response

    return app


def _json(content: Any, status: int = 200) -> flask.Response:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return flask.Response(text, status, content_type="application/json; charset=utf-8")


def serve(
    capture: Capture, queries: Queries, host: str, port: int, ready: Optional[Callable[[str], None]] = None
) -> None:
    """Serves until it is interrupted.

    Arguments:
        port: 0 takes a free one.
        ready: called with the address of the page once it can be opened.

    Raises:
        BadInput: if nothing can be served at this host and port.
    """
    app = make_app(capture, queries, only_loopback=host in LOOPBACK)
    try:
        server = waitress.create_server(app, host=host, port=port, threads=THREADS, ident=None)
    except (OSError, ValueError) as fault:
        raise BadInput(
            f"nothing can be served at {host} port {port}: {fault}; choose others by --host and --port"
        ) from None
    name = f"[{host}]" if ":" in host else host
    if ready is not None:
        ready(f"http://{name}:{getattr(server, 'effective_port', port)}/")
    try:
        server.run()
    finally:
        server.close()
