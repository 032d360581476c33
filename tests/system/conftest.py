"""Binary data, trained models, the runtime by itself and a browser that the system tests share."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from browser_pages import CHROMIUM, FLAGS, serving
from reference.capture_folders import parentheses_capture
from system_commands import BSO, ROOT, preprocess, train

from fairseq_bso.checkpoints import load_state

ALL_OF_IT = ["numpy", "sentencepiece", "onnxruntime"]  # the packages that `translate` may need


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Binary data with 200 / 30 / 30 sentences."""
    return preprocess(tmp_path_factory.mktemp("numbers"), train=200, valid=30, test=30)


@pytest.fixture(scope="session")
def softmax_checkpoint(data, tmp_path_factory):
    """A model pretrained with fairseq's own criterion."""
    folder = tmp_path_factory.mktemp("nll")
    train(data, folder, "--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1", "--max-epoch", "6")
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def summed_checkpoint(softmax_checkpoint, tmp_path_factory):
    """The pretrained model, read as a model with summed raw scores. All scorers have the same parameters."""
    state = load_state(str(softmax_checkpoint))
    state["cfg"]["model"]["scorer"] = "summed"
    path = tmp_path_factory.mktemp("summed") / "checkpoint_last.pt"
    torch.save(state, path)
    return path


@pytest.fixture(scope="session")
def checkpoints(softmax_checkpoint, summed_checkpoint, bso_run):
    """One checkpoint for every ``--scorer``."""
    return {"softmax": softmax_checkpoint, "summed": summed_checkpoint, "unnormalized": bso_run[0]}


@pytest.fixture(scope="session")
def bso_run(data, softmax_checkpoint, tmp_path_factory):
    """(checkpoint, log) of a BSO run from the pretrained model, with --eval-bleu as the best checkpoint's metric."""
    folder = tmp_path_factory.mktemp("bso")
    curriculum = ["--train-beam", "3", "--initial-beam", "2", "--updates-per-beam", "13"]
    bleu = ["--eval-bleu", "--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric"]
    done = train(
        *(data, folder, *BSO, *curriculum, *bleu, "--task", "bso_translation", "--eval-bleu-args", '{"beam": 3}'),
        *("--finetune-from-model", softmax_checkpoint, "--delta", "sentence_bleu", "--max-epoch", "3", "--lr", "0.005"),
    )
    return folder / "checkpoint_last.pt", done.stderr + done.stdout


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """Runs Python in an environment that has only the packages for `translate`."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for found in filter(None, map(importlib.util.find_spec, ALL_OF_IT)):
        installed = Path(found.origin).parent
        for path in (installed, installed.with_name(installed.name + ".libs")):
            if path.is_dir():
                (packages / path.name).symlink_to(path)
    (packages / "bso_runtime").symlink_to(ROOT / "bso_runtime")

    def python(*arguments, text=None):
        line = [folder / "bin" / "python", "-I", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, input=text, encoding="utf-8", cwd=folder)

    return python


@pytest.fixture(scope="session")
def translate(bare):
    """Runs `translate` in the bare environment."""
    return lambda *arguments, **streams: bare("-m", "bso_runtime", "translate", *arguments, **streams)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """The address of a page that shows the parentheses language. Units 0 to 3 are on at depths of at least 1 to 4.

    A file of tests that shows something else has a fixture `address` of its own.
    """
    with serving(parentheses_capture(tmp_path_factory.mktemp("page") / "capture", sentences=60)) as found:
        yield found


@pytest.fixture
def page(browser, address):
    """A new page. At the end of a test it must have had no error and no request to another server."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(20_000)
    errors, requests = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: requests.append(request.url))
    yield page
    context.close()
    assert not [error for error in errors if "net::ERR_FAILED" not in error]  # caused by a request that a test aborts
    assert all(url.startswith((address, "blob:", "data:")) for url in requests)
