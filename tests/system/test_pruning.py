"""Pruning by fairseq's own commands: zeros in every checkpoint, resuming, two workers, and one of fairseq's tasks."""

import re
import subprocess
import sys

import pytest
import torch
from endurance.number_words import write_corpus
from fairseq import checkpoint_utils
from system_commands import BSO, PLUGIN, QUIET, ROOT, TINY, difference, last_line, run, train, train_with_two_workers

import fairseq_bso  # noqa: F401  (--user-dir also imports it before a checkpoint is read)
from fairseq_bso import cli
from fairseq_bso.checkpoints import distinct_parameters, load_state
from fairseq_bso.errors import UserError
from fairseq_bso.models.bso_lstm import BsoLSTMModel
from fairseq_bso.prune.schemes import PruningSchedule
from fairseq_bso.unit_sets import zero_units

TASK = ["--task", "bso_translation", "--criterion", "cross_entropy", "--disable-validation"]
GRADUAL = ["--prune-amount", 0.8, "--prune-schedule", "gradual", "--prune-start", 2, "--prune-end", 17]


def matrices(checkpoint):
    """name -> matrix; only matrices may be pruned."""
    found = checkpoint_utils.load_checkpoint_to_cpu(str(checkpoint))["model"]
    return {name: one for name, one in found.items() if one.dim() > 1}


def pruned_masks(checkpoint):
    """name -> mask, True at positive zeros."""
    return {name: (one == 0) & ~torch.signbit(one) for name, one in matrices(checkpoint).items()}


@pytest.fixture(scope="module", params=[[], ["--bf16"]], ids=["float32", "bfloat16"])
def pruned_run(request, data, tmp_path_factory):
    """(folder, log, number options) of a run that saves after each of 26 updates and prunes at 2, 7, 12 and 17."""
    folder = tmp_path_factory.mktemp("pruned")
    saving = ["--save-interval-updates", 1, "--max-epoch", 2, "--dropout", 0.2, *request.param]
    done = train(data, folder, *TASK, *GRADUAL, "--prune-every", 5, "--prune-scheme", "class_distribution", *saving)
    return folder, done.stdout + done.stderr, request.param


def test_every_checkpoint_has_exactly_its_zeros_and_none_comes_back(pruned_run):
    folder, log, _ = pruned_run
    checkpoints = {int(path.stem.split("_")[2]): path for path in folder.glob("checkpoint_*_*.pt")}
    checkpoints[26] = folder / "checkpoint_last.pt"
    assert len(checkpoints) >= 24
    schedule, before = PruningSchedule("gradual", 0.8, 2, 17, 5), {}
    for updates, path in sorted(checkpoints.items()):
        masks = pruned_masks(path)
        total = sum(mask.numel() for mask in masks.values())
        assert sum(int(mask.sum()) for mask in masks.values()) == schedule.count(updates, total), updates
        assert all(bool((masks[name] | ~mask).all()) for name, mask in before.items())
        before = masks
    tables = re.findall(r"pruned at update (\d+): ([\d.]+)% of the weights", log)
    assert [int(update) for update, _ in tables] == [7, 12, 17] and tables[-1][1] == "80.00"
    for name in ("source_embedding", "encoder_layer_1", "decoder_layer_1", "attention", "scorer", "not pruned"):
        assert re.search(rf"^{name} +\S*.* [\d,]+ .*%", log, re.M), name
    assert "epoch 2: " in log and re.search(r"\| sparsity 0\.8 ", log)


def test_a_resumed_run_has_the_masks_and_weights_of_one_that_never_stopped(data, pruned_run, tmp_path):
    """The run stops after update 9, between two changes of the masks. Two more changes follow."""
    folder, _, numbers = pruned_run
    options = [*TASK, *GRADUAL, "--prune-every", 5, "--prune-scheme", "class_distribution", *numbers]
    middle = ["--restore-file", folder / "checkpoint_1_9.pt"]
    done = train(data, tmp_path, *options, "--max-epoch", 2, "--dropout", 0.2, *middle)
    assert "found in the checkpoint at update 9" in done.stderr + done.stdout
    before, after = pruned_masks(folder / "checkpoint_1_9.pt"), pruned_masks(tmp_path / "checkpoint_last.pt")
    assert all(bool((after[name] | ~mask).all()) for name, mask in before.items())
    assert sum(int(mask.sum()) for mask in after.values()) == round(0.8 * sum(mask.numel() for mask in after.values()))
    if not numbers:  # fairseq resumes 16-bit training from rounded weights
        whole, resumed = matrices(folder / "checkpoint_last.pt"), matrices(tmp_path / "checkpoint_last.pt")
        assert all(torch.equal(one, resumed[name]) for name, one in whole.items())


def test_without_an_amount_training_is_the_same_bit_by_bit_as_without_the_callback(data, tmp_path):
    options = ["--criterion", "cross_entropy", "--disable-validation", "--max-update", 6]
    train(data, tmp_path / "ours", *options, "--task", "bso_translation")
    train(data, tmp_path / "stock", *options, "--task", "translation")
    ours, stock = (
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / one / "checkpoint_last.pt")) for one in ("ours", "stock")
    )
    assert all(torch.equal(one, stock["model"][name]) for name, one in ours["model"].items())


def test_two_workers_prune_as_one_with_twice_the_batches_and_go_on_in_the_middle(data, tmp_path):
    options = [*TASK, "--prune-amount", 0.6, "--prune-schedule", "iterative", "--prune-end", 4, "--prune-every", 2]
    options += ["--max-update", 6, "--clip-norm", 1.0, "--batch-size", 8, "--save-interval-updates", 1]
    train(data, tmp_path / "one", *options, "--update-freq", 2)
    train_with_two_workers(data, tmp_path / "two", tmp_path / "first", *options)
    middle = ["--restore-file", tmp_path / "two" / "checkpoint_1_3.pt"]
    train_with_two_workers(data, tmp_path / "resumed", tmp_path / "second", *options, *middle)
    one, two, resumed = (matrices(tmp_path / name / "checkpoint_last.pt") for name in ("one", "two", "resumed"))
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-5
    assert all(torch.equal(two[name], resumed[name]) for name in two)
    schedule = PruningSchedule("iterative", 0.6, 0, 4, 2)
    for updates in (1, 2, 3, 4, 5):
        masks = pruned_masks(tmp_path / "two" / f"checkpoint_1_{updates}.pt")
        total = sum(mask.numel() for mask in masks.values())
        assert sum(int(mask.sum()) for mask in masks.values()) == schedule.count(updates, total)


def zero_units_of(checkpoint):
    """(set of units, how many of them are zero) of a bso_lstm, and the size of the sets."""
    parameters = distinct_parameters(load_state(str(checkpoint)))
    tensors = {names[0]: tensor for names, tensor in parameters}
    sets = BsoLSTMModel.unit_sets(parameters, residual=False)
    return [(units.name, int(zero_units(units, tensors).sum())) for units in sets], {units.size for units in sets}


def test_units_stay_zero_in_every_checkpoint_and_when_a_run_resumes(data, tmp_path):
    options = [*TASK, "--prune-units", 0.4, "--prune-schedule", "gradual", "--prune-start", 2, "--prune-end", 8]
    options += ["--prune-every", 3, "--max-update", 10, "--dropout", 0.2, "--share-all-embeddings"]
    done = train(data, tmp_path / "whole", *options, "--save-interval-updates", 1)
    schedule = PruningSchedule("gradual", 0.4, 2, 8, 3)
    for updates in range(1, 11):
        counts, sizes = zero_units_of(tmp_path / "whole" / f"checkpoint_1_{updates}.pt")
        assert sizes == {32} and [name for name, _ in counts] == [
            "encoder_layer_1+decoder_layer_1",
            "source_embedding+target_embedding+attentional_vector",
        ]
        assert {count for _, count in counts} == {schedule.count(updates, 32)}, updates
    assert "pruned at update 5: 34.38% of the units" in done.stdout + done.stderr
    resumed = train(data, tmp_path / "resumed", *options, "--restore-file", tmp_path / "whole" / "checkpoint_1_6.pt")
    assert "found in the checkpoint at update 6: 34.38% of the units" in resumed.stdout + resumed.stderr
    assert difference(tmp_path / "whole" / "checkpoint_last.pt", tmp_path / "resumed" / "checkpoint_last.pt") == 0


def test_two_workers_prune_the_units_of_one_with_twice_the_batches(data, tmp_path):
    options = [*TASK, "--prune-units", 0.3, "--prune-start", 2, "--max-update", 4, "--batch-size", 8]
    train(data, tmp_path / "one", *options, "--update-freq", 2)
    train_with_two_workers(data, tmp_path / "two", tmp_path / "meeting", *options)
    one, two = (tmp_path / name / "checkpoint_last.pt" for name in ("one", "two"))
    assert zero_units_of(one) == zero_units_of(two) and zero_units_of(one)[0][0][1] == 10
    assert difference(one, two) < 1e-5


@pytest.mark.parametrize("kind", ["bso", "word", "sequence", "legacy task"])
def test_every_task_and_criterion_prunes(data, softmax_checkpoint, tmp_path, kind):
    teacher = ["--teacher-path", softmax_checkpoint]
    cache = ["--distill-cache", tmp_path / "cache", "--distill-beam", 2]
    options = {
        "bso": ["--task", "bso_translation", *BSO, "--train-beam", 3, "--finetune-from-model", softmax_checkpoint],
        "word": ["--task", "word_distillation", "--criterion", "word_distillation", *teacher],
        "sequence": ["--task", "sequence_distillation", "--criterion", "cross_entropy", *teacher, *cache],
        "legacy task": ["--task", "pruned_multilingual", "--criterion", "cross_entropy", "--lang-pairs", "src-tgt"],
    }[kind]
    user_dir = PLUGIN
    if kind == "legacy task":  # a task without a dataclass for its options
        user_dir = tmp_path / "own"
        user_dir.mkdir()
        (user_dir / "__init__.py").write_text(
            "from fairseq_bso import register_pruned_task\n"
            "register_pruned_task('multilingual_translation', 'pruned_multilingual')\n"
        )
        options += ["--arch", "multilingual_transformer_iwslt_de_en", "--encoder-embed-dim", 8, "--encoder-layers", 1]
        options += ["--decoder-embed-dim", 8, "--decoder-layers", 1, "--encoder-ffn-embed-dim", 8]
        options += ["--optimizer", "adam", "--batch-size", 16]
    learning = TINY if kind != "legacy task" else []
    options += ["--prune-amount", 0.7, "--max-update", 3, "--disable-validation", "--save-dir", tmp_path / "run"]
    run("train", data, "--user-dir", user_dir, *learning, *QUIET, *options)
    masks = pruned_masks(tmp_path / "run" / "checkpoint_last.pt")
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.7 * total)


@pytest.mark.gpu
def test_half_precision_on_a_gpu(data, tmp_path):
    options = [*TASK, "--fp16", "--prune-amount", 0.7, "--prune-start", 2, "--max-update", 6, "--update-freq", 2]
    quiet = [word for word in QUIET if word != "--cpu"]
    run("train", data, "--user-dir", PLUGIN, *TINY, *quiet, *options, "--save-dir", tmp_path)
    masks = pruned_masks(tmp_path / "checkpoint_last.pt")
    total = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.7 * total)


def test_a_task_of_fairseqs_own_with_one_line_and_its_checkpoint_without_the_plugin(tmp_path, monkeypatch):
    """The task is --task pruned_language_modeling of user_dir_examples/pruning."""
    for seed, name in enumerate(("train", "valid")):
        write_corpus(tmp_path, name, 60, seed)
    data = tmp_path / "data-bin"
    text = ["--trainpref", tmp_path / "train.tgt", "--validpref", tmp_path / "valid.tgt", "--destdir", data]
    run("preprocess", "--only-source", *text)
    sizes = ["--decoder-embed-dim", 16, "--decoder-ffn-embed-dim", 16, "--decoder-layers", 2]
    model = ["--arch", "transformer_lm", *sizes, "--decoder-attention-heads", 2, "--share-decoder-input-output-embed"]
    options = ["--user-dir", ROOT / "user_dir_examples" / "pruning", "--task", "pruned_language_modeling", *QUIET]
    pruning = ["--prune-amount", 0.5, "--prune-scheme", "class_uniform", "--prune-start", 3]
    learning = ["--optimizer", "nag", "--lr", 0.1, "--tokens-per-sample", 16, "--batch-size", 8, "--max-update", 6]
    done = run("train", data, *options, *model, *pruning, *learning, "--save-dir", tmp_path / "run")
    log = done.stdout + done.stderr
    assert re.search(r"^decoder\.layers\.1 .* 50\.00%", log, re.M) and "pruned at update 3: 50.00%" in log
    # Without the plugin, torch's safe loader refuses fairseq's checkpoints.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    plain = ["--path", tmp_path / "run" / "checkpoint_last.pt", "--gen-subset", "valid", "--cpu", "--batch-size", 8]
    done = run("eval_lm", data, *plain)
    assert "Perplexity" in done.stdout + done.stderr


def test_what_pruning_cannot_follow_ends_with_one_line(data, tmp_path):
    options = [*TASK, "--prune-amount", 0.5, "--ddp-backend", "fully_sharded", "--max-update", 2]
    done = train(data, tmp_path, *options, check=False)
    assert "--prune-amount cannot be used with --ddp-backend fully_sharded" in last_line(done)


def test_the_prune_command_prints_its_table_and_nothing_for_debugging(softmax_checkpoint, tmp_path):
    line = [sys.executable, "-m", "bso_runtime", "prune", str(softmax_checkpoint), str(tmp_path / "pruned.pt")]
    line += ["--amount", "0.5", "--picture", str(tmp_path / "kept.png")]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    assert "together" in done.stdout and "DEBUG" not in done.stdout + done.stderr


def test_prune_command_and_training_on_from_its_checkpoint(data, softmax_checkpoint, tmp_path, capsys):
    pruned, picture = tmp_path / "pruned.pt", tmp_path / "kept.png"
    options = ["--amount", "0.9", "--scheme", "class_uniform", "--picture", str(picture)]
    assert cli.main(["prune", str(softmax_checkpoint), str(pruned), *options]) == 0
    assert re.search(r"^scorer .* (9|10)\.\d\d%", capsys.readouterr().out, re.M)
    assert picture.read_bytes().startswith(b"\x89PNG") and not list(tmp_path.glob("*.part"))
    before, after, masks = matrices(softmax_checkpoint), matrices(pruned), pruned_masks(pruned)
    count = round(0.9 * sum(mask.numel() for mask in masks.values()))
    assert sum(int(mask.sum()) for mask in masks.values()) == count
    assert all(torch.equal(one.masked_fill(masks[name], 0), after[name]) for name, one in before.items())
    common = ["--user-dir", PLUGIN, "--path", pruned, "--cpu", "--beam", 2]
    assert "BLEU" in run("generate", data, *common).stdout
    options = [*TASK, "--prune-amount", 0.9, "--prune-scheme", "class_uniform", "--finetune-from-model", pruned]
    done = train(data, tmp_path / "on", *options, "--max-update", 3)
    assert "found in the checkpoint at update 0" in done.stderr + done.stdout
    on = pruned_masks(tmp_path / "on" / "checkpoint_last.pt")
    assert all(torch.equal(mask, on[name]) for name, mask in masks.items())


def test_a_picture_that_cannot_be_drawn_leaves_no_checkpoint(softmax_checkpoint, tmp_path):
    options = ["--amount", "0.5", "--picture", str(tmp_path / "kept.txt")]
    with pytest.raises(UserError, match="kept.txt cannot be written"):
        cli.main(["prune", str(softmax_checkpoint), str(tmp_path / "pruned.pt"), *options])
    assert not list(tmp_path.iterdir())


def test_prune_command_refuses_less_than_is_pruned_already(softmax_checkpoint, tmp_path, capsys):
    pruned, exclude = str(tmp_path / "pruned.pt"), ["--exclude", "attention"]
    assert cli.main(["prune", str(softmax_checkpoint), pruned, "--amount", "0.8", *exclude]) == 0
    assert "the same --prune-amount, --prune-scheme, --prune-exclude" in capsys.readouterr().out
    with pytest.raises(UserError, match="of the weights are zero already, more than --amount 0.3"):
        cli.main(["prune", pruned, str(tmp_path / "less.pt"), "--amount", "0.3"])
    assert cli.main(["prune", pruned, str(tmp_path / "more.pt"), "--amount", "0.9"]) == 0
    assert not (tmp_path / "less.pt").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--amount", "1"], "amount to prune is 1.0"),
        (["--amount", "0.5", "--scheme", "blind"], "choose from: class_blind"),
        (["--amount", "0.5", "--exclude", "head"], "--exclude head matches no weights"),
        (["--units", "1.2"], "amount to prune is 1.2, but must be from 0 .none. to below 1"),
        (["--units", "0.3", "--scheme", "class_uniform"], "--scheme class_uniform chooses weights, but --units"),
        (["--units", "0.3", "--exclude", "head"], "--exclude head matches no units .* are encoder_layer_1"),
        (["--units", "0.99"], "--units is 0.99, but would prune all 32 units of encoder_layer_1.*give at most 0.9688"),
    ],
)
def test_prune_command_refuses(softmax_checkpoint, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        cli.main(["prune", str(softmax_checkpoint), str(tmp_path / "pruned.pt"), *options])
    assert not list(tmp_path.iterdir())


def test_prune_command_names_what_is_no_checkpoint(tmp_path):
    (tmp_path / "text.pt").write_text("no checkpoint")
    for name, message in (("none.pt", "does not exist"), ("text.pt", "is no checkpoint of fairseq-train")):
        with pytest.raises(UserError, match=message):
            cli.main(["prune", str(tmp_path / name), str(tmp_path / "out.pt"), "--amount", "0.5"])
