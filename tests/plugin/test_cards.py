"""The cards of the units: what `fairseq-bso states` stores for them, and what the server answers."""

import shutil

import h5py
import numpy
import pytest
import torch
from reference import cards as twin
from reference.capture_folders import parentheses_capture, write_capture, write_side
from tiny_captures import run, write_data
from view_applications import application, ask

from fairseq_bso import cli
from fairseq_bso.interpret.folder.index import build_index, levels, open_cards, open_index
from fairseq_bso.interpret.folder.reader import open_capture
from fairseq_bso.interpret.units.ranking import rank_for_track
from fairseq_bso.interpret.view import cards as view_cards


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = parentheses_capture(tmp_path_factory.mktemp("cards") / "capture", sentences=40)
    with h5py.File(folder / "decoder" / "train.hdf5", "r+") as file:
        file["output_words/hidden2/words"] = numpy.tile([0, 1, 5, 6], (24, 1)).astype(numpy.int32)
        file["output_words/hidden2/weights"] = numpy.tile([2.0, 1.5, -3.0, -2.0], (24, 1)).astype(numpy.float32)
    return folder


@pytest.fixture(scope="module")
def client(folder):
    return application(folder).test_client()


def stored(folder, unit, side="decoder"):
    """The values of a unit, read from its file; cell states after tanh."""
    state, column = unit.split(":")
    with h5py.File(folder / side / "states.hdf5", "r") as file:
        values = file[state][:, int(column)]
    return numpy.tanh(values) if state.startswith("cell") else values


@pytest.mark.parametrize("unit", ["hidden1:2", "cell1:4", "hidden2:23"])
def test_a_card_holds_what_the_states_say(folder, client, unit):
    card = ask(client, f"card?side=decoder&unit={unit}&threshold=0.4&direction=below")
    values = stored(folder, unit).tolist()
    own = levels(numpy.array(values, dtype=numpy.float32)).tolist()
    for name, signed in (("highest", values), ("lowest", [-one for one in values])):
        wanted = twin.peaks(signed, 12, 16)
        assert [one["position"] for one in card[name]] == [step for _, step in wanted] and len(wanted) == 12
        sign = 1 if name == "highest" else -1
        assert [one["value"] for one in card[name]] == pytest.approx([sign * value for value, _ in wanted], abs=1e-4)
    assert card["histogram"] == numpy.reshape(twin.histogram(own), (51, 5)).sum(1).tolist()
    runs = twin.runs(own, 40, "below")
    figures = card["figures"]
    assert figures["runs"] == len(runs) and figures["share"] == pytest.approx(sum(runs) / len(own), abs=1e-5)
    assert figures["run"] == pytest.approx(sum(runs) / max(1, len(runs)), abs=0.01)
    assert figures["mean"] == pytest.approx(twin.mean(values), abs=1e-4)
    assert figures["deviation"] == pytest.approx(twin.deviation(values), abs=1e-4)
    assert (figures["low"], figures["high"]) == pytest.approx((min(values), max(values)), abs=1e-4)
    others = {f"{state}:{column}" for state in ("hidden1", "cell1", "hidden2") for column in range(24)} - {unit}
    wanted = {other: twin.correlation(values, stored(folder, other).tolist()) for other in others}
    best = sorted(map(abs, wanted.values()), reverse=True)[:12]
    assert len(card["correlated"]) == len(best)
    for (partner, value), strength in zip(card["correlated"], best):
        assert value == pytest.approx(wanted[partner], abs=1e-3) and abs(value) == pytest.approx(strength, abs=1e-3)


def test_spans_are_words_around_a_peak_with_its_values(folder, client):
    side = open_capture(folder).sides["decoder"]
    spans = ask(client, "card?side=decoder&unit=hidden1:0")["highest"]
    assert spans
    for span in spans:
        stop = span["from"] + len(span["words"])
        assert span["words"] == side.text(span["from"], stop) and span["from"] <= span["position"] < stop
        shown = levels(stored(folder, "hidden1:0")[span["from"] : stop]) / 100
        assert span["values"] == pytest.approx(shown.tolist())
        assert side.offsets[span["sentence"]] <= span["position"] < side.offsets[span["sentence"] + 1]


def test_tracks_are_scored_as_in_the_statistics(folder, client):
    card = ask(client, "card?side=decoder&unit=hidden1:4")
    capture = open_capture(folder)
    units = open_index(capture.sides["decoder"]).units
    depth = next(one for one in card["tracks"] if one["track"] == "depth")
    values = capture.sides["decoder"].tracks["depth"].values
    wanted = rank_for_track(units, values, None, len(units), 10)
    place = wanted.ranking.units.tolist().index(4)
    assert depth["criterion"] == wanted.criterion == "correlation_ratio" and abs(depth["rank"] - place - 1) <= 1
    assert depth["score"] == pytest.approx(float(wanted.ranking.scores[place]), abs=1e-4)
    assert depth["control"] == pytest.approx(float(wanted.control.best.max()), abs=1e-4) and depth["score"] > 0.95
    assert all(abs(mean - 0.22 * label) < 0.03 for label, mean in enumerate(depth["means"]))
    margins = [one["score"] - one["control"] for one in card["tracks"]]
    assert margins == sorted(margins, reverse=True) and {one["track"] for one in card["tracks"]} == {
        *("depth", "kind", "place", "loss")
    }


def test_units_are_neighbours_by_number(client):
    assert ask(client, "card?side=decoder&unit=hidden1:0")["previous"] is None
    seam = ask(client, "card?side=decoder&unit=cell1:0")
    assert (seam["previous"], seam["next"], seam["number"], seam["of"]) == ("hidden1:23", "cell1:1", 24, 72)
    assert ask(client, "card?side=decoder&unit=hidden2:23")["next"] is None


def test_output_words_of_the_states_that_have_them(client):
    assert ask(client, "card?side=decoder&unit=hidden1:0")["words"] is None
    words = ask(client, "card?side=decoder&unit=hidden2:3")["words"]
    assert [weight for _, weight in words["raised"]] == [2, 1.5] and [one for _, one in words["lowered"]] == [-3, -2]


def test_the_table_says_what_the_cards_say(client):
    table = ask(client, "table?side=decoder&states=cell1,hidden2&threshold=0.5&direction=above")
    assert table["units"] == [f"{state}:{column}" for state in ("cell1", "hidden2") for column in range(24)]
    for place in (0, 30, 47):
        card = ask(client, f"card?side=decoder&unit={table['units'][place]}&threshold=0.5")
        assert {name: values[place] for name, values in table["figures"].items()} == card["figures"]
        assert [table["partner"][place], table["correlation"][place]] == card["correlated"][0]
        scores = {one["track"]: one["scores"][place] for one in table["tracks"]}
        assert scores == {one["track"]: one["score"] for one in card["tracks"]}
        assert len(table["histograms"][place]) == 17 and max(table["histograms"][place]) == 100


@pytest.mark.parametrize(
    "path",
    [
        *("card", "card?side=decoder", "card?side=decoder&unit=", "card?side=decoder&unit=hidden1"),
        *(f"card?side=decoder&unit=hidden1:{unit}" for unit in ("24", "-1", "NaN", "1e3", "9" * 200, "٣", "1.0", "")),
        *("card?side=decoder&unit=hidden9:1", "card?side=both&unit=hidden1:1", "card?side=decoder&unit=hidden1:1&x=1"),
        "card?side=decoder&unit=" + "a" * 20_000,
        *(f"card?side=decoder&unit=hidden1:1&threshold={one}" for one in ("NaN", "0", "1.01", "1e9", "-0.3")),
        *("table?side=decoder&states=nothing", "table?side=decoder&direction=up", "table?side=decoder&limit=1"),
        "table?side=decoder&threshold=inf",
    ],
)
def test_what_is_malformed_is_refused_with_one_sentence(client, path):
    error = ask(client, path, status=400)["error"]
    assert 8 < len(error) < 700 and "\n" not in error


def test_a_capture_of_an_earlier_version_opens_and_says_how_to_add_cards(folder, tmp_path, monkeypatch):
    old = tmp_path / "old"
    shutil.copytree(folder, old, copy_function=shutil.copy2)
    (old / "decoder" / "cards.npz").unlink()
    client = application(old).test_client()
    assert ask(client, "select?side=decoder&from=3&to=5")["of"] == 72
    for path in ("card?side=decoder&unit=hidden1:1", "table?side=decoder"):
        assert ask(client, path) == {"missing": view_cards.MISSING}
    assert ask(client, "card?side=encoder&unit=hidden1:1")["unit"] == "hidden1:1"
    monkeypatch.setattr("fairseq_bso.interpret.view.server.serve", lambda *arguments: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    assert cli.main(["view", str(old), "--index"]) == 0
    assert "missing" not in ask(application(old).test_client(), "card?side=decoder&unit=hidden1:1")


@pytest.mark.parametrize("damage", ["cut off", "nonsense", "one bit", "other states", "fewer units"])
def test_cards_that_are_damaged_or_of_other_states_are_left_out(folder, tmp_path, damage):
    side = tmp_path / "copy" / "decoder"
    shutil.copytree(folder, side.parent, copy_function=shutil.copy2)
    path = side / "cards.npz"
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "nonsense":
        path.write_bytes(b"PK\x03\x04 no file")
    elif damage == "one bit":
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1  # claims an encryption
        path.write_bytes(content)
    elif damage == "other states":
        with h5py.File(side / "states.hdf5", "r+") as file:
            file["hidden1"][:] = 0.5
    else:
        with numpy.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        numpy.savez(path, **{**arrays, "mean": arrays["mean"][:-1]})
    assert open_cards(open_capture(side.parent).sides["decoder"]) is None


def test_blocks_join_without_a_seam(folder, monkeypatch):
    side = open_capture(folder).sides["encoder"]
    whole = open_cards(side)
    monkeypatch.setattr("fairseq_bso.interpret.folder.index.BLOCK", 72 * 7)  # seven steps at a time
    build_index(side.folder)
    again = open_cards(side)
    for one, other in zip(
        [*whole.levels, *whole.highest, *whole.lowest], [*again.levels, *again.highest, *again.lowest]
    ):
        assert (one == other).all()
    assert numpy.allclose(whole.moments.correlations, again.moments.correlations, atol=1e-5)


def test_constant_infinite_and_single_states_have_cards(tmp_path):
    """Foreign captures may hold anything but NaN. JSON has no infinity."""
    values = numpy.zeros((3, 2))
    values[1] = [numpy.inf, -1e30]
    write_side(tmp_path / "decoder", {"hidden1": values, "cell1": numpy.full((3, 1), 2.0)}, ["a"] * 3, [3])
    write_capture(tmp_path, ["decoder"])
    client = application(tmp_path).test_client()
    for unit in ("hidden1:0", "hidden1:1", "cell1:0"):
        card = ask(client, f"card?unit={unit}")
        assert card["unit"] == unit and [value for _, value in card["correlated"]][-1] == 0
    assert len(ask(client, "table")["units"]) == 3


def captured(tmp_path, arch, **options):
    model, found = run(tmp_path, arch, {"index": True}, **options)
    return model, found["decoder"], open_capture(tmp_path / "out").sides["decoder"].output_words


def slope(function, units):
    """(V, units), the slope of the scores at zero. The columns take the path as linear."""
    return torch.autograd.functional.jacobian(function, torch.zeros(units, dtype=torch.float64))


def assert_words_are_those_of(words, columns, side, found, state):
    names = side.dictionary.symbols
    skipped = (side.dictionary.pad(),)
    for unit in range(columns.size(1)):
        wanted = twin.top_words(columns[:, unit].tolist(), 4, skipped)
        for got, expected in zip(words.of(state, unit), wanted):
            assert [word for word, _ in got] == [names[word] for word, _ in expected]
            assert [one for _, one in got] == pytest.approx([weight for _, weight in expected], abs=1e-4)
    assert found[f"output_words/{state}/words"].shape == (columns.size(1), 8)


def test_output_words_of_bso_lstm(tmp_path):
    model, found, words = captured(tmp_path, "bso_lstm")
    decoder = model.decoder.double()
    bare = slope(lambda feedback: decoder.output_weight @ feedback, 6)
    assert_words_are_those_of(words, bare, decoder, found, "attentional")
    through = slope(lambda hidden: decoder.output_weight @ torch.tanh(decoder.attentional.weight @ hidden), 6)
    for state in ("hidden1", "cell1"):
        assert_words_are_those_of(words, through, decoder, found, state)


@pytest.mark.parametrize("options", [{}, {"share_decoder_input_output_embed": True}, {"decoder_out_embed_dim": 5}])
def test_output_words_of_fairseq_lstm(tmp_path, options):
    """The context is zero, and `additional_fc` is there where the sizes differ."""
    model, found, words = captured(tmp_path, "lstm", **options)
    decoder = model.decoder.double()

    def scores(hidden):
        joined = torch.cat([torch.zeros(6, dtype=torch.float64), hidden])
        output = torch.tanh(decoder.attention.output_proj.weight @ joined)
        if hasattr(decoder, "additional_fc"):
            output = decoder.additional_fc(output)
        return decoder.output_layer(output)

    assert_words_are_those_of(words, slope(scores, 6), decoder, found, "hidden1")


def test_output_words_of_a_language_model(tmp_path):
    model, found, words = captured(tmp_path, "lstm_lm", task="language_modeling", data=write_data(tmp_path / "data"))
    decoder = model.decoder.double()
    assert_words_are_those_of(words, slope(decoder.output_layer, 6), decoder, found, "cell1")
    assert words.of("hidden1", 6) is None and words.of("hidden2", 0) is None
