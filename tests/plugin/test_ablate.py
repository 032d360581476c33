"""Units that are set during a run, and `fairseq-bso ablate`, compared with a reference that steps word by word."""

import csv
import json

import h5py
import numpy
import pytest
import torch
from reference import states
from tiny_captures import SOURCES, TARGETS, read, run, write_checkpoint, write_data

from fairseq_bso import cli
from fairseq_bso.errors import UserError
from fairseq_bso.interpret.ablate.ablation import ablate
from fairseq_bso.interpret.ablate.corpus import read_corpus
from fairseq_bso.interpret.ablate.options import AblationOptions
from fairseq_bso.interpret.ablate.units import control_groups
from fairseq_bso.interpret.capture.capture import capture
from fairseq_bso.interpret.capture.options import CaptureOptions
from fairseq_bso.interpret.folder.reader import open_capture
from fairseq_bso.interpret.models.changes import Change, UnitEdit
from fairseq_bso.interpret.models.loading import load

TWO_LAYERS = {"encoder_layers": 2, "decoder_layers": 2}
VARIANTS = [
    ("bso_lstm", {**TWO_LAYERS, "encoder_bidirectional": True, "attention": "mlp", "scorer": "summed"}),
    ("bso_lstm", {"encoder_layers": 3, "decoder_layers": 3, "residual": True, "share_all_embeddings": True}),
    ("bso_lstm", {"no_input_feeding": True, "encoder_hidden_size": 3}),
    ("lstm", {**TWO_LAYERS, "encoder_bidirectional": True, "encoder_hidden_size": 4}),
    ("lstm", {"decoder_attention": "0"}),
    ("lstm_lm", {**TWO_LAYERS, "residuals": True}),
]
LANGUAGE_MODEL = {"task": "language_modeling", "sample_break_mode": "eos"}


def twin_of(arch, model, source, fed, overwrites):
    """The steps of encoder and decoder by the reference."""
    if arch == "lstm_lm":
        return states.fairseq_language_model(model, fed, overwrites)
    return (states.bso_lstm if arch == "bso_lstm" else states.fairseq_lstm)(model, source, fed, overwrites)


def checkpoint(tmp_path, arch, options):
    """The model of a checkpoint, and the same loaded with its reader."""
    data = write_data(tmp_path / "data")
    more = LANGUAGE_MODEL if arch == "lstm_lm" else {}
    model = write_checkpoint(tmp_path / "model.pt", data, arch, **more, **options)
    return model, load(str(tmp_path / "model.pt"), str(data), gates=True, cpu=True)


def edits_of(overwrites, side):
    """The overwrites of one side, all over the same rows, as edits by state."""
    found = {}
    for one in overwrites:
        if one.side == side:
            columns, values = found.get(one.state, ([], []))[:2]
            found[one.state] = ([*columns, one.unit], [*values, one.value], one.first, one.last)
    return {
        state: UnitEdit(torch.tensor(columns), torch.tensor(values), first, None if last > 99 else last)
        for state, (columns, values, first, last) in found.items()
    }


@pytest.mark.parametrize("arch, options", VARIANTS)
@pytest.mark.parametrize("rows", [(), (1, 2)])
def test_states_and_scores_with_units_set_equal_the_twin_in_a_padded_batch(tmp_path, arch, options, rows):
    model, loaded = checkpoint(tmp_path, arch, options)
    chosen = [("decoder", "hidden1", 2, 0.7), ("decoder", "cell1", 0, -1.1), ("decoder", "hidden1", 4, -0.5)]
    if "decoder_layers" in options:
        chosen += [("decoder", "cell2", 3, 0.4), ("decoder", "hidden2", 1, 0.2)]
    if arch == "bso_lstm":
        chosen += [("decoder", "attentional", 5, 0.9)]
    if arch != "lstm_lm":
        last = 2 * options.get("encoder_hidden_size", 6) - 1 if options.get("encoder_bidirectional") else 1
        chosen += [
            ("encoder", "hidden1", 1, 0.6),
            ("encoder", "cell1", last, 0.8),
            ("encoder", "hidden1", last - 1, 0.1),
        ]
    overwrites = [states.Overwrite(*one, *rows) for one in chosen]
    fed = [[2, *words[:-1]] for words in (SOURCES if arch == "lstm_lm" else TARGETS)]
    reader, memory = loaded.reader, None
    if arch != "lstm_lm":
        lengths = torch.tensor([len(words) for words in SOURCES])
        sources = torch.nn.utils.rnn.pad_sequence([torch.tensor(one) for one in SOURCES], True, 1)
        memory = reader.encode(sources, lengths, Change(edits_of(overwrites, "encoder")))
    inputs = torch.nn.utils.rnn.pad_sequence([torch.tensor(one) for one in fed], True, 1)
    decoded = reader.decoder_states(inputs, memory, Change(edits_of(overwrites, "decoder")))
    plain = reader.decoder_states(inputs, memory)
    for place, words in enumerate(fed):
        _, wanted = twin_of(arch, model, SOURCES[place], words, overwrites)
        scores = reader.scores(decoded.outputs[place, : len(words)])
        numpy.testing.assert_allclose(scores, torch.stack(wanted.pop("scores")), rtol=1e-4, atol=1e-5)
        for name, steps in wanted.items():
            # The reference keeps the gates; those of a step are computed before its units are set.
            found = decoded.attention if name == "attention" else decoded.states[name]
            found = found[place, : len(words)]
            found = found[:, : len(SOURCES[place])] if name == "attention" else found
            numpy.testing.assert_allclose(found, torch.stack(steps), rtol=1e-4, atol=1e-5, err_msg=name)
    assert not torch.allclose(decoded.outputs, plain.outputs, atol=1e-3)


def captured(tmp_path, arch, options, **settings):
    """Captures into tmp_path/out; returns the model, the arrays, and the arguments of `ablate`."""
    more = LANGUAGE_MODEL if arch == "lstm_lm" else {}
    model, found = run(tmp_path, arch, settings, **more, **options)
    return model, found, (str(tmp_path / "model.pt"), str(tmp_path / "data"), str(tmp_path / "out"))


@pytest.mark.parametrize("arch, options", VARIANTS)
@pytest.mark.parametrize("max_tokens", [1, 1000])
def test_the_rise_of_the_loss_equals_the_twin(tmp_path, arch, options, max_tokens):
    """Every batch size gives the same; in the large one all but the longest sentence are padded."""
    model, found, arguments = captured(tmp_path, arch, options)
    side = "decoder" if arch == "lstm_lm" or max_tokens == 1 else "encoder"
    units = ("hidden1:1", "cell1:2")
    chosen = AblationOptions(units=units, side=side, together=True, control=1, max_tokens=max_tokens, cpu=True)
    report = ablate(*arguments, chosen)
    means = {name: found[side][name].astype(float).mean(0) for name in ("hidden1", "cell1")}

    def loss(columns):
        overwrites = [states.Overwrite(side, *one, means[one[0]][one[1]]) for one in columns]
        losses, words = [], []
        targets = SOURCES if arch == "lstm_lm" else TARGETS
        for source, target in zip(SOURCES, targets):
            _, steps = twin_of(arch, model, source, [2, *target[:-1]], overwrites)
            losses += [-float(scores[word]) for scores, word in zip(steps["scores"], target)]
            words += target
        return numpy.array(losses), numpy.array(words)

    plain, words = loss([])
    assert report.words == len(words) and report.loss == pytest.approx(plain.mean(), abs=1e-5)
    random = report.controls["cell1", "hidden1"][0]
    columns = [(name.split(":")[0], int(name.split(":")[1])) for name in random.units]
    assert not {("hidden1", 1), ("cell1", 2)} & set(columns)
    for rise, wanted in ((report.chosen[0][1], [("hidden1", 1), ("cell1", 2)]), (random, columns)):
        losses, _ = loss(wanted)
        assert rise.total == pytest.approx((losses - plain).mean(), abs=1e-5)
        for place, label in enumerate(report.labels["word"]):
            number = 2 if label == "</s>" else 4 + int(label[4:])
            assert report.counts["word"][place] == (words == number).sum()
            of_word = (losses - plain)[words == number].mean()
            assert rise.by_label["word"][place] == pytest.approx(of_word, abs=1e-5)
    if options.get("scorer") == "summed":
        assert report.facts["measure"] == "score"


def write_track(tmp_path, name, lines):
    (tmp_path / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return f"{name}={tmp_path / name}.txt"


def test_losses_stand_under_the_label_of_the_predicted_word(tmp_path):
    lines = [[f"t{word % 2}" for word in target[:-1]] for target in TARGETS]
    numbers = [[str(1_000_000 + word) for word in target[:-1]] for target in TARGETS]  # alike in six digits
    tracks = (
        write_track(tmp_path, "parity", [" ".join(line) for line in lines]),
        write_track(tmp_path, "number", [" ".join(line) for line in numbers]),
    )
    _, found, arguments = captured(tmp_path, "bso_lstm", {}, decoder_tracks=tracks)
    report = ablate(*arguments, AblationOptions(units=("hidden1:0",), control=0, cpu=True))
    losses, words = found["decoder"]["loss"], numpy.array([word for target in TARGETS for word in target])
    for place, label in enumerate(report.labels["parity"]):
        mine = (words != 2) & (words % 2 == int(label[1]))
        assert report.counts["parity"][place] == mine.sum()
        assert report.by_label["parity"][place] == pytest.approx(losses[mine].mean(), abs=1e-5)
    assert sum(report.counts["number"]) == (words != 2).sum()
    assert sorted(report.labels["number"]) == sorted({str(1_000_000 + word) for word in words[words != 2]})


@pytest.mark.parametrize(
    "settings, options",
    [
        ({"break_mode": "eos"}, {}),
        ({"break_mode": "none"}, {"tokens_per_sample": 4}),
        ({"break_mode": "complete"}, {"tokens_per_sample": 9, "add_bos_token": True}),
    ],
)
def test_the_predicted_words_of_a_language_model_are_known_however_its_text_was_cut(tmp_path, settings, options):
    run(tmp_path, "lstm_lm", settings, task="language_modeling", **options)
    loaded = load(str(tmp_path / "model.pt"), str(tmp_path / "data"), cpu=True)
    corpus = read_corpus(loaded, open_capture(tmp_path / "out"))
    following = numpy.concatenate([words.numpy() for words in corpus.following])
    text = [word for sentence in SOURCES for word in sentence]
    begins = corpus.offsets[:-1] if options.get("add_bos_token") else []
    assert numpy.delete(following, begins).tolist() == text and (following[begins] == 0).all()
    ablate(  # compares the losses of all rows with those of the capture
        *(str(tmp_path / "model.pt"), str(tmp_path / "data"), str(tmp_path / "out")),
        AblationOptions(units=("hidden1:0",), control=0, cpu=True),
    )


def test_random_sets_have_the_states_of_the_set_and_none_of_its_units():
    chosen = (("hidden1", 3), ("hidden1", 5), ("cell1", 0))
    states_of_set = ("cell1", "hidden1", "hidden1")
    made = control_groups(chosen, states_of_set, {"hidden1": 8, "cell1": 8}, 10, 1)
    assert len(set(made)) == 10
    for one in made:
        assert tuple(sorted(state for state, _ in one)) == states_of_set and not set(one) & set(chosen)
    assert made == control_groups(chosen, states_of_set, {"hidden1": 8, "cell1": 8}, 10, 1)
    everything = tuple(("hidden1", column) for column in range(4))
    assert len(control_groups(everything, ("hidden1",), {"hidden1": 4}, 20, 1)) == 4


def test_the_command_prints_a_table_and_writes_what_the_report_holds(tmp_path, capsys):
    _, _, (model, data, out) = captured(tmp_path, "bso_lstm", {})
    command = ["ablate", model, out, "--data", data, "--cpu", "--units", "hidden1", "cell1:2", "--control", "3"]
    for ending in ("json", "csv"):
        assert cli.main([*command, "--out", str(tmp_path / f"found.{ending}"), "--top", "4"]) == 0
    printed = capsys.readouterr().out
    assert "3 random, 1 of hidden1: mean" in printed and "3 more sets of units with a smaller rise" in printed
    content = json.loads((tmp_path / "found.json").read_text())
    assert len(content["sets"]) == 7 and len(content["controls"]["hidden1"]) == 3
    rises = [one["rise"] for one in content["sets"]]
    assert rises == sorted(rises, reverse=True)
    lines = list(csv.DictReader((tmp_path / "found.csv").open()))
    labels = len(content["tracks"]["word"]["labels"])
    assert len(lines) == 7 * (1 + labels)
    assert float(lines[0]["rise"]) == pytest.approx(rises[0], abs=1e-6)
    best = content["sets"][0]
    control = content["controls"][best["control"]]
    assert float(lines[0]["control_largest"]) == pytest.approx(max(one["rise"] for one in control), abs=1e-6)
    word = lines[1]
    assert word["label"] == content["tracks"]["word"]["labels"][0]
    assert float(word["rise"]) == pytest.approx(best["tracks"]["word"][0], abs=1e-6)
    assert not list(tmp_path.glob("*.partial"))


def test_the_table_names_the_side_and_shows_the_labels_that_are_asked_for(tmp_path, capsys):
    _, _, (model, data, out) = captured(tmp_path, "bso_lstm", {})
    command = ["ablate", model, out, "--data", data, "--cpu", "--units", "hidden1:2", "--control", "2"]
    assert cli.main([*command, "--side", "encoder", "--labels", "</s>", "word1"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "encoder units, by word" and header.split()[-2:] == ["</s>", "word1"]
    report = ablate(model, data, out, AblationOptions(units=("hidden1:2",), side="encoder", control=2, cpu=True))
    rise = report.chosen[0][1].by_label["word"]
    places = [report.labels["word"].index(label) for label in ("</s>", "word1")]
    assert rows[2].split() == [
        "hidden1:2",
        f"{report.chosen[0][1].total:+.3f}",
        *(f"{rise[one]:+.3f}" for one in places),
    ]
    with pytest.raises(UserError, match="^--labels word77: word has </s>, "):
        cli.main([*command, "--labels", "</s>", "word77"])


def test_a_file_that_cannot_be_written_leaves_the_table(tmp_path, capsys):
    _, _, (model, data, out) = captured(tmp_path, "bso_lstm", {})
    command = ["ablate", model, out, "--data", data, "--cpu", "--units", "hidden1:2", "--control", "0", "--out"]
    with pytest.raises(UserError, match="--out .*model.pt/rises.csv cannot be written: "):
        cli.main([*command, f"{model}/rises.csv"])
    assert "hidden1:2" in capsys.readouterr().out
    (tmp_path / "rises.csv").mkdir()
    with pytest.raises(UserError, match="--out .*rises.csv is a folder: give another name"):
        cli.main([*command, str(tmp_path / "rises.csv")])
    assert not capsys.readouterr().out


def test_what_does_not_fit_ends_with_one_message(tmp_path):
    model, _, (path, data, out) = captured(tmp_path, "bso_lstm", {}, gates=True)

    def refused(message, checkpoint=path, folder=out, **options):
        with pytest.raises(UserError, match=message):
            ablate(checkpoint, data, folder, AblationOptions(cpu=True, **options))

    refused("--units input1:0: .* has the states", units=("input1:0",))
    refused("hidden1 has the units hidden1:0 to hidden1:5", units=("hidden1:6",))
    refused("--units hidden1:", units=("hidden1:",))
    refused("--track tag: the decoder of .* has word", track="tag")
    refused(
        "--control is -1, .*; --max-tokens is 0, .*; --out found.txt must end in",
        control=-1,
        max_tokens=0,
        out="found.txt",
    )
    write_checkpoint(tmp_path / "other.pt", data, "bso_lstm", decoder_layers=2, encoder_layers=2)
    refused("is not the model of .*, which was captured from another content", str(tmp_path / "other.pt"))
    refused("none.pt does not exist", str(tmp_path / "none.pt"))
    with h5py.File(tmp_path / "out" / "decoder" / "train.hdf5", "r+") as file:
        file["loss"][7] += 1
    refused("gives sentence 1 .* another loss than the capture, by 1.000")
    capture(path, data, str(tmp_path / "half"), CaptureOptions(cpu=True, sides=("decoder",)))
    refused("has no encoder, without which no loss is known", folder=str(tmp_path / "half"))
    refused("--side encoder: .* has decoder", folder=str(tmp_path / "half"), side="encoder")
    (tmp_path / "data" / "dict.tgt.txt").write_text("".join(f"other{i} 1\n" for i in range(6)))
    refused("another decoder dictionary", units=("hidden1:0",))
    assert read(out)
