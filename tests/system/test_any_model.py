"""BSO of fairseq's own encoder-decoders by fairseq's own commands."""

import math
import re

import pytest
import torch
from system_commands import PLUGIN, QUIET, ROOT, difference, last_line, parameters, run, train_with_two_workers

from fairseq_bso.checkpoints import load_state

SIZES = [f"--{side}-{name}" for side in ("encoder", "decoder") for name in ("embed-dim", "ffn-embed-dim")]
TRANSFORMER = ["--arch", "transformer_iwslt_de_en", *[word for size in SIZES for word in (size, 16)], "--dropout", 0.1]
TRANSFORMER += ["--encoder-layers", 2, "--decoder-layers", 2, "--encoder-attention-heads", 2]
TRANSFORMER += ["--decoder-attention-heads", 2]
CONVOLUTIONS = ["--encoder-layers", "[(8, 3)]", "--decoder-layers", "[(8, 3)]", "--decoder-out-embed-dim", 8]
ARCHITECTURES = {
    "lstm": ["--arch", "lstm", "--encoder-embed-dim", 8, "--decoder-embed-dim", 8, "--decoder-out-embed-dim", 8]
    + ["--encoder-hidden-size", 8, "--decoder-hidden-size", 8],
    "fconv": ["--arch", "fconv", "--encoder-embed-dim", 8, "--decoder-embed-dim", 8, *CONVOLUTIONS],
}
BSO = ["--criterion", "beam_search_optimization", "--train-beam", 3]
OURS = ["--task", "bso_translation"]


def train(data, save_dir, *options, model=TRANSFORMER, check=True):
    """Runs ``fairseq-train`` with a model of fairseq."""
    batches = ["--optimizer", "adam", "--lr", 0.005, "--batch-size", 16, "--required-batch-size-multiple", 1]
    common = ["--user-dir", PLUGIN, *model, *batches, *QUIET, "--no-epoch-checkpoints", "--save-dir", save_dir]
    return run("train", data, *common, *options, check=check)


def log_of(done):
    """All lines that a command wrote."""
    return done.stderr + done.stdout


def logged(done, name):
    """The values of one name in the log lines of updates."""
    return [float(value) for value in re.findall(rf"train_inner .*?\b{name}=([^,\s]+)", log_of(done))]


def hypotheses(data, checkpoint, *options):
    """{sentence: (source words, hypothesis words)} from fairseq-generate."""
    common = ["--user-dir", PLUGIN, "--cpu", "--path", checkpoint, "--beam", 3, "--max-len-b", 12]
    printed, found = run("generate", data, *common, *options).stdout, {}
    for sentence, line in re.findall(r"^[SH]-(\d+)\t(.*)$", printed, re.M):
        found.setdefault(sentence, []).append(line.split("\t")[-1].split())
    return found


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory):
    """A Transformer trained with fairseq's cross entropy."""
    folder = tmp_path_factory.mktemp("transformer")
    train(data, folder, "--criterion", "cross_entropy", "--max-epoch", 5, "--disable-validation")
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="module")
def whole_run(data, pretrained, tmp_path_factory):
    """(folder, log) of a run of 10 updates with mixed beams, which saved after each."""
    folder = tmp_path_factory.mktemp("whole")
    done = train(data, folder, *RESUMABLE, "--finetune-from-model", pretrained, "--save-interval-updates", 1)
    return folder, done


def test_averages_of_weights_start_from_a_checkpoint_without_them(data, pretrained, tmp_path):
    """fairseq's own --store-ema ends in a KeyError here."""
    options = [*BSO, "--max-update", 1, "--disable-validation", "--store-ema", "--ema-decay", 0.75]
    done = train(data, tmp_path, *options, "--finetune-from-model", pretrained)
    assert log_of(done).count("has no averages of weights") == 1
    before, after = (parameters(path) for path in (pretrained, tmp_path / "checkpoint_last.pt"))
    averages = load_state(str(tmp_path / "checkpoint_last.pt"))["extra_state"]["ema"]
    for name in ("encoder.layers.0.fc1.weight", "decoder.layers.1.self_attn.k_proj.bias"):
        assert not torch.equal(before[name], after[name])
        torch.testing.assert_close(averages[name], 0.75 * before[name] + 0.25 * after[name])


RESUMABLE = [*BSO, "--train-beam", 5, "--mixed-beams", "--margin", 2, "--max-update", 10, "--disable-validation"]
RESUMABLE += ["--encoder-layerdrop", 0.2, "--decoder-layerdrop", 0.2]


def test_a_transformer_trains_in_the_packed_search_and_decodes(data, pretrained, whole_run):
    folder, done = whole_run
    assert "differs from fairseq's Transformer" not in log_of(done)
    assert len(re.findall(r"the search looks at .* words a sentence", log_of(done))) == 1
    beams, losses = logged(done, "beam"), logged(done, "margin_loss")
    assert len(losses) == 10 and all(math.isfinite(loss) for loss in losses)
    assert set(beams) == {2, 3, 4, 5}
    assert difference(pretrained, folder / "checkpoint_last.pt") > 0
    found = hypotheses(data, folder / "checkpoint_last.pt")
    assert len(found) == 30
    # Word ordering under a constraint that the model was not trained with.
    for source, output in hypotheses(data, folder / "checkpoint_last.pt", *OURS, "--successors", "word_order").values():
        assert sorted(source) == sorted(output)


def test_a_resumed_run_equals_one_that_never_stopped(data, whole_run, tmp_path):
    folder, whole = whole_run
    (middle,) = folder.glob("checkpoint_*_4.pt")
    resumed = train(data, tmp_path, *RESUMABLE, "--restore-file", middle)
    assert logged(resumed, "beam") == logged(whole, "beam")[4:]
    assert difference(folder / "checkpoint_last.pt", tmp_path / "checkpoint_last.pt") == 0
    assert difference(folder / "checkpoint_last.pt", middle) > 0


def test_the_beam_grows_in_a_task_that_tells_models_no_updates(data, tmp_path):
    """The training step of multilingual_translation is its own; a resumed training goes on with the right beam."""
    multilingual = ["--task", "multilingual_translation", "--lang-pairs", "src-tgt", "--max-update"]
    options = [*BSO, "--train-beam", 5, "--updates-per-beam", 1, "--disable-validation", *multilingual]
    model = ["--arch", "multilingual_transformer", *TRANSFORMER[2:]]
    train(data, tmp_path / "first", *options, 2, model=model)
    (last,) = (tmp_path / "first").glob("checkpoint_last.pt")
    resumed = train(data, tmp_path / "second", *options, 4, "--restore-file", last, model=model)
    assert logged(resumed, "beam") == [4, 5]


def test_scheduled_sampling_resumes_where_it_stopped(data, tmp_path):
    options = ["--criterion", "scheduled_sampling", "--sampling-schedule", "exponential", "--sampling-k", 0.7]
    options += ["--word-dropout", 0.1, "--disable-validation"]
    whole = train(data, tmp_path / "whole", *options, "--max-update", 4, "--save-interval-updates", 2)
    (middle,) = (tmp_path / "whole").glob("checkpoint_*_2.pt")
    resumed = train(data, tmp_path / "resumed", *options, "--max-update", 4, "--restore-file", middle)
    assert logged(whole, "own_words") == [*logged(whole, "own_words")[:-2], *logged(resumed, "own_words")]
    assert logged(resumed, "own_words")[-1] > 0
    assert difference(*(tmp_path / name / "checkpoint_last.pt" for name in ("whole", "resumed"))) == 0


def test_two_workers_equal_one_with_twice_the_batches(data, pretrained, tmp_path):
    options = [*BSO, "--finetune-from-model", pretrained, "--max-update", 3, "--dropout", 0, "--margin", 3]
    options += ["--disable-validation", "--batch-size", 8, "--updates-per-beam", 1]
    train(data, tmp_path / "one", *options, "--update-freq", 2)
    train_with_two_workers(data, tmp_path / "two", tmp_path / "meeting", *options, train=train)
    assert difference(tmp_path / "one" / "checkpoint_last.pt", tmp_path / "two" / "checkpoint_last.pt") < 1e-5


def test_a_constrained_run_is_pruned_and_validates_between_updates(data, pretrained, tmp_path):
    """Also with LayerDrop, tied embeddings and pre-norm, in bfloat16."""
    options = [*BSO, *OURS, "--successors", "word_order", "--eval-bleu", "--eval-bleu-args", '{"beam": 3}', "--bf16"]
    options += ["--validate-interval-updates", 3, "--max-update", 6, "--encoder-layerdrop", 0.3]
    options += ["--decoder-layerdrop", 0.3, "--share-decoder-input-output-embed", "--decoder-normalize-before"]
    options += ["--prune-scheme", "class_blind", "--prune-amount", 0.5]
    done = train(data, tmp_path, *options)
    assert "differs from fairseq's Transformer" not in log_of(done)
    assert len(re.findall(r"\| valid \|.* bleu ", log_of(done))) == 2
    assert all(math.isfinite(loss) for loss in logged(done, "margin_loss"))
    weights = [tensor for tensor in parameters(tmp_path / "checkpoint_last.pt").values() if tensor.dim() > 1]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    assert zeros > 0.4 * sum(weight.numel() for weight in weights)
    decoded = hypotheses(data, tmp_path / "checkpoint_last.pt", *OURS, "--successors", "word_order")
    assert len(decoded) == 30
    for source, output in decoded.values():
        assert sorted(source) == sorted(output)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures_train_validate_and_decode(data, tmp_path, name):
    options = {"model": ARCHITECTURES[name]}
    train(data, tmp_path / "nll", "--criterion", "cross_entropy", "--max-epoch", 1, "--disable-validation", **options)
    first = tmp_path / "nll" / "checkpoint_last.pt"
    done = train(data, tmp_path, *BSO, *OURS, "--finetune-from-model", first, "--max-update", 4, "--amp", **options)
    losses = logged(done, "margin_loss")
    assert len(losses) == 4 and all(0 < loss < math.inf for loss in losses)
    assert re.search(r"\| valid \|.* violations_per_token ", log_of(done))
    assert len(hypotheses(data, tmp_path / "checkpoint_last.pt")) == 30


def test_the_validate_command_reports_less_loss_after_training(data, whole_run):
    common = ["--user-dir", PLUGIN, "--task", "translation", "--cpu", "--batch-size", 8]
    losses = []
    for number in (1, 10):
        (path,) = whole_run[0].glob(f"checkpoint_*_{number}.pt")
        done = run("validate", data, *common, "--path", path)
        losses += [float(value) for value in re.findall(r"\bmargin_loss (\S+)", log_of(done))]
    assert len(losses) == 2 and 0 < losses[1] < losses[0]


OWN_MODEL = """
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerModel, base_architecture

import fairseq_bso
from fairseq_bso import BatchConstraint, register_successors


@register_model("louder_transformer")
class Louder(TransformerModel):
    def forward(self, *inputs, **named):
        scores, more = super().forward(*inputs, **named)
        return 1.1 * scores, more


@register_model("scaled_transformer")
class Scaled(TransformerModel):
    @classmethod
    def build_decoder(cls, *inputs):
        decoder = super().build_decoder(*inputs)
        inner = decoder.extract_features
        decoder.extract_features = lambda *given, **named: (lambda x, more: (2 * x, more))(*inner(*given, **named))
        return decoder


for name in ("louder_transformer", "scaled_transformer"):
    register_model_architecture(name, name)(base_architecture)
"""


def test_ones_own_transformer_takes_the_incremental_decoder_or_is_refused(data, tmp_path):
    folder = tmp_path / "own_models"
    folder.mkdir()
    (folder / "__init__.py").write_text(OWN_MODEL)
    options = [*BSO, "--max-update", 1, "--disable-validation", "--user-dir", folder, "--store-ema"]
    done = train(data, tmp_path, *options, "--arch", "scaled_transformer")
    assert "Scaled differs from fairseq's Transformer" in log_of(done)
    refused = train(data, tmp_path / "run", *options, "--arch", "louder_transformer", check=False)
    assert "cannot train Louder, because it lacks probabilities that are the softmax" in last_line(refused)


def test_a_constraint_of_ones_own_trains_a_transformer(data, pretrained, tmp_path):
    own = ROOT / "user_dir_examples" / "custom_successors"
    task = [*OURS, "--successors", "same_length", "--user-dir", own]
    options = [*BSO, *task, "--max-update", 2, "--finetune-from-model", pretrained, "--checkpoint-activations"]
    done = train(data, tmp_path, *options, "--disable-validation")
    assert all(math.isfinite(loss) for loss in logged(done, "margin_loss"))
    assert len(hypotheses(data, tmp_path / "checkpoint_last.pt", *task)) == 30


@pytest.mark.parametrize(
    "options, message",
    [
        (["--criterion", "beam_search_optimization", "--adaptive-softmax-cutoff", 5], "it has an adaptive softmax"),
        ([*BSO, "--quant-noise-scalar", 0.2], "it lacks a linear output layer"),
        ([*BSO, "--left-pad-target"], "is padded on the left: leave --left-pad-target False"),
    ],
)
def test_what_cannot_be_trained_ends_with_one_line(data, tmp_path, options, message):
    done = train(data, tmp_path, *options, "--max-update", 1, check=False)
    assert message in last_line(done)
