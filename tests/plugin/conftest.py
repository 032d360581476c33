"""Models, capture folders, servers over them and float64, which several files of tests share."""

from urllib.parse import urlencode

import pytest
from own_text_servers import MODELS, own_application
from reference import stock
from reference.capture_folders import parentheses_capture
from tiny_captures import LANGUAGE_MODEL, states, write_checkpoint, write_data
from view_applications import application, ask


@pytest.fixture
def capture_folder(tmp_path):
    """A capture folder of 8 sentences of the parentheses language, for one test alone."""
    return parentheses_capture(tmp_path / "capture", sentences=8)


@pytest.fixture(scope="session")
def parentheses(tmp_path_factory):
    """A capture folder of 80 sentences of the parentheses language."""
    return parentheses_capture(tmp_path_factory.mktemp("view") / "capture", sentences=80)


@pytest.fixture(scope="session")
def view(parentheses):
    """The server over `parentheses`."""
    return application(parentheses)


@pytest.fixture(scope="session")
def ask_view(view):
    """The answers of `view`, by their path."""
    client = view.test_client()
    return lambda path, status=200: ask(client, path, status)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """A folder with `data`, and the checkpoints `bso.pt` and `lm.pt`."""
    folder = tmp_path_factory.mktemp("states")
    write_data(folder / "data")
    write_checkpoint(folder / "bso.pt", folder / "data", "bso_lstm")
    write_checkpoint(folder / "lm.pt", folder / "data", **LANGUAGE_MODEL)
    return folder


@pytest.fixture(scope="session")
def own_folder(tmp_path_factory):
    """A folder with data, checkpoints, and captures of the corpus by all MODELS."""
    folder = tmp_path_factory.mktemp("own")
    write_data(folder / "data")
    for name, (arch, options) in MODELS.items():
        write_checkpoint(folder / f"{name}.pt", folder / "data", arch, **options)
        states(folder, folder / name, name, index=True, gates=name == "lstm")
    return folder


@pytest.fixture(scope="session")
def own_apps(own_folder):
    """The server of each model, and its answers about one's own text."""
    return {name: own_application(own_folder, name) for name in MODELS}


@pytest.fixture(scope="session")
def ask_own(own_apps):
    """The answers of the server of a model, by their path and fields."""
    clients = {name: app.test_client() for name, (app, _) in own_apps.items()}
    return lambda name, path, status=200, **fields: ask(clients[name], f"{path}?{urlencode(fields)}", status)


@pytest.fixture(scope="module")
def double_precision():
    """Softmaxes of fairseq keep float64 in a whole file of tests."""
    with stock.double_precision():
        yield
