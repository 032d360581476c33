"""Models, capture folders, and servers over them, that several files of tests share."""

import pytest
from reference.capture_folders import parentheses_capture
from tiny_captures import LANGUAGE_MODEL, write_checkpoint, write_data
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
