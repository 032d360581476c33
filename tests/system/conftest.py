"""Binary data, trained models and a browser that the system tests share."""

import pytest
import torch
from browser_pages import CHROMIUM, FLAGS
from system_commands import BSO, preprocess, train

from fairseq_bso.checkpoints import load_state


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


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


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
