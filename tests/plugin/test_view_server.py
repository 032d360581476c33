"""The server of `fairseq-bso view`: the files of the page, many clients at once, refused addresses."""

import socket
import threading
import urllib.request
from contextlib import contextmanager

import pytest
import waitress

from fairseq_bso import cli
from fairseq_bso.errors import UserError


@contextmanager
def served(app, threads):
    """The address of a running server. At the end none of its threads is left.

    The thread that polls the sockets must close them itself: it could else poll a socket that is closed already. Before
    that the threads that answer must have ended, for they wake it up through one of these sockets."""
    server = waitress.create_server(app, host="127.0.0.1", port=0, threads=threads)
    loop = threading.Thread(target=server.run)
    loop.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.task_dispatcher.shutdown()
        server.trigger.pull_trigger(server.close)
        loop.join(timeout=60)
        assert not loop.is_alive()


def test_the_page_comes_with_all_its_files_and_asks_nobody_else(view):
    client = view.test_client()
    answer = client.get("/")
    text = answer.get_data(as_text=True)
    assert (
        answer.content_type.startswith("text/html")
        and "default-src 'self'" in answer.headers["Content-Security-Policy"]
    )
    assert "http" not in text.replace("http-equiv", "")
    named = [part.split('"')[0] for part in text.split('"page/')[1:]]
    assert {"main.js", "style.css", "d3.v7.min.js"} <= set(named)
    seen = set()
    while named:
        name = named.pop()
        if name in seen:
            continue
        seen.add(name)
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200 and len(answer.get_data()) > 100, name
        if name.endswith(".js") and not name.startswith("d3"):
            lines = answer.get_data(as_text=True).splitlines()
            named += [
                line.split('"./')[1].split('"')[0] for line in lines if line.startswith("import") and '"./' in line
            ]
    assert len(seen) >= 15
    assert "Mike Bostock" in client.get("/page/d3.LICENSE.txt").get_data(as_text=True)


def test_fifty_clients_at_once(view):
    """Each client sends several requests to the real server. The answers equal those of a single client."""
    paths = [f"context?side=decoder&start={start}&length=40&states=hidden1,cell1" for start in range(0, 50, 10)]
    paths += [f"match?side=decoder&states=hidden1&from={start}&to={start + 1}&threshold=0.2" for start in range(5)]
    paths += ["search?side=decoder&text=0", "sentence?number=1", "statistics?side=decoder&states=hidden1&track=depth"]
    client = view.test_client()
    wanted = {path: client.get(f"/api/{path}").get_data() for path in paths}
    wrong = []

    def run(address, number):
        try:
            for turn in range(4):
                path = paths[(number * 4 + turn) % len(paths)]
                with urllib.request.urlopen(f"{address}/api/{path}", timeout=60) as answer:
                    if answer.read() != wanted[path]:
                        wrong.append(path)
        except Exception as error:
            wrong.append(repr(error))

    with served(view, threads=8) as address:
        clients = [threading.Thread(target=run, args=(address, number)) for number in range(50)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(timeout=120)
    assert not wrong


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--port", "70000"], "--port is 70000"),
        (["--host", "no.such.host.invalid", "--port", "0"], "nothing can be served"),
    ],
)
def test_the_command_refuses_an_address(parentheses, arguments, message):
    with pytest.raises(UserError, match=message):
        cli.main(["view", str(parentheses), *arguments])


def test_the_command_refuses_a_port_that_is_taken(parentheses):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(UserError, match="nothing can be served at 127.0.0.1 port"):
            cli.main(["view", str(parentheses), "--port", str(taken.getsockname()[1])])


def test_the_command_names_a_package_that_is_missing(parentheses, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith("fairseq_bso.interpret.view.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "waitress", None)
    with pytest.raises(UserError, match=r"needs the package waitress: pip install 'fairseq-bso\[interpret\]'"):
        cli.main(["view", str(parentheses)])
