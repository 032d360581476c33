"""scripts/experiments/compare_training.py: the plan for each task, refused options, and the tables."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from compare_training import parse_arguments
from comparison_plan import ROOT, Comparison, Row
from comparison_recipes import MORE, RECIPES, START
from comparison_report import ALL, Report
from comparison_scores import METRICS, statistics_of
from significance import bleu_statistics, chrf, chrf_statistics


@pytest.fixture
def data(tmp_path):
    """A folder with every file that a recipe needs."""
    folder = tmp_path / "own"
    folder.mkdir()
    for recipe in RECIPES.values():
        for name in recipe.needs:
            (folder / name.replace("*", ".xz")).touch()
    return folder


def plan(task, data, *options):
    needed = ["--data", str(data)] if RECIPES[task].needs else []
    arguments = parse_arguments([task, "--out", str(data.parent / "out"), *needed, *options])
    return Comparison(arguments.recipe, arguments.out, arguments.seeds, arguments.data)


@pytest.mark.parametrize("task", RECIPES)
def test_all_but_the_start_begin_where_the_start_of_their_seed_ended(task, data):
    comparison = plan(task, data, "--seeds", "2")
    assert comparison.seeds == [1, 2]
    for (seed, name), stage in comparison.trained.items():
        assert stage.command[stage.command.index("--seed") + 1] == str(seed)
        given = "--finetune-from-model" in stage.command
        assert given == (name != START)
        if given:
            start = stage.command[stage.command.index("--finetune-from-model") + 1]
            assert start.endswith(f"seed{seed}/{START}/checkpoint_best.pt")
            assert stage.after == [comparison.trained[seed, START]]


@pytest.mark.parametrize("task", RECIPES)
def test_every_bso_is_decoded_like_a_row_of_continued_cross_entropy(task, data):
    rows = plan(task, data).rows
    assert len(rows) == len(set(rows))
    for row in rows:
        assert Row(MORE, row.constrained) in rows


@pytest.mark.parametrize("task", RECIPES)
def test_commands_name_no_folder_that_is_left_open(task, data):
    comparison = plan(task, data)
    stages = [*comparison.prepared, *comparison.trained.values(), *comparison.decoded.values()]
    assert len({stage.name for stage in stages}) == len(stages)
    for stage in stages:
        assert not [word for word in stage.command if set(word) & set("{}*")]


def test_cross_entropy_is_decoded_in_the_ways_of_the_bso_that_is_there(data):
    for only, expected in (("bso-con", [True]), ("bso", [False]), (MORE, [True, False])):
        rows = plan("tatoeba", data, "--only", MORE, only).rows
        assert [row.constrained for row in rows if row.training == MORE] == expected


def test_constraint_and_limits_of_decoding():
    comparison = Comparison(RECIPES["tatoeba"], ROOT, [1])
    for (_, row, _, _), stage in comparison.decoded.items():
        assert ("--successors" in stage.command) == row.constrained
        assert ("--max-len-a" in stage.command) == (not row.constrained)


def test_one_more_training_is_one_of_the_recipe_with_other_settings(data):
    wide = "wide = bso-con --train-beam 16 --max-update 7"
    comparison = plan("parsing", data, "--also", wide, "--only", MORE)
    assert [one.name for one in comparison.recipe.trainings] == [START, MORE, "wide"]
    command = comparison.trained[1, "wide"].command
    assert command[-6:-2] == ["--train-beam", "16", "--max-update", "7"]
    assert command[command.index("--total-num-update") + 1] == "7"
    assert Row("wide", True) in comparison.rows


def test_another_model_and_other_beams_take_the_place_of_those_of_the_recipe(data):
    comparison = plan("multi30k", data, "--model", "--arch lightconv --max-tokens 9", "--beams", "4", "2", "4")
    for stage in comparison.trained.values():
        assert "lightconv" in stage.command and "bso_lstm_iwslt" not in stage.command
    assert {beam for *_, beam in comparison.decoded} == {2, 4}


def test_options_with_braces_and_quotes_reach_fairseq_as_they_are(data):
    """Braces are no placeholders of a recipe, and a quoted text is one word."""
    text = """new = bso --eval-bleu-args '{"beam": 3}' --text-remove-bpe '@@ '"""
    command = plan("tatoeba", data, "--also", text).trained[1, "new"].command
    assert command[command.index("--eval-bleu-args") + 1] == '{"beam": 3}'
    assert command[command.index("--text-remove-bpe") + 1] == "@@ "


@pytest.mark.parametrize("task", RECIPES)
def test_quick_keeps_the_model_of_the_command_line(task, data):
    comparison = plan(task, data, "--quick", "--model", "--arch lightconv --max-tokens 9")
    for stage in comparison.trained.values():
        assert "lightconv" in stage.command and "bso_lstm_tiny" not in stage.command


def test_minutes_become_the_updates_that_fit_into_them(tmp_path):
    """40 updates take 20 seconds of processor time with cross entropy, 60 with BSO; the start keeps its own."""

    comparison = Comparison(RECIPES["parsing"], tmp_path, [3])
    updates = {one.name: one.updates for one in comparison.within(2, Trials(tmp_path)).trainings}
    assert updates == {START: RECIPES["parsing"].named[START].updates, MORE: 240, "bso-con": 80, "cost-con": 80}
    stage = comparison.trial_stage(RECIPES["parsing"].named["bso-con"], 3)
    assert stage.command[stage.command.index("--max-update") + 1] == "40" and "--no-save" in stage.command
    assert not stage.resumes  # or the time of an interrupted trial would count twice


class Trials:
    """Stands for a `Runner`: 40 updates take 20 seconds, and 60 with BSO. It notes the stages that it runs."""

    def __init__(self, folder):
        self.folder, self.ran = folder, []

    def run(self, stage):
        self.ran.append(stage)
        self.log(stage).write_text("seconds of processor time: " + ("60.0" if "con" in stage.name else "20.0"))
        return 1.0

    def log(self, stage):
        return self.folder / stage.name

    def stamp(self, stage):
        done = [one for one in self.ran if one.name == stage.name]
        return {"command": done[-1].command, "finished": 1.0} if done else {}


def test_one_seed_after_the_other_has_the_trials_of_the_first(tmp_path):
    """Another seed's trial would give other updates, and what an earlier call has trained would be refused."""
    runner = Trials(tmp_path)
    Comparison(RECIPES["parsing"], tmp_path, [2]).within(2, runner)
    first = {stage.name: stage.command for stage in runner.ran}
    runner.ran = [stage for stage in runner.ran if "cost-con" not in stage.name]  # as if --only had left it out
    for seeds in ([3], [1, 2, 3]):
        Comparison(RECIPES["parsing"], tmp_path, seeds).within(2, runner)
    assert {stage.name: stage.command for stage in runner.ran} == first


def test_a_training_whose_options_name_its_updates_has_no_trial(tmp_path, data):
    comparison, runner = plan("parsing", data, "--also", "wide = bso-con --max-update 7"), Trials(tmp_path)
    comparison.within(2, runner)
    assert [stage.name for stage in runner.ran if "wide" in stage.name] == []
    assert "trial-bso-con" in [stage.name for stage in runner.ran]


def test_a_learning_rate_that_would_rise_to_the_end_is_refused(data):
    for updates, message in ((13, "risk-short: --warmup-updates 13 must be below its 13 updates"), (14, None)):
        also = ("--also", f"risk-short = risk --max-update {updates}")
        if message is None:
            assert "--warmup-updates" in plan("multi30k-transformer", data, *also).trained[1, "risk-short"].command
        else:
            with pytest.raises(SystemExit, match=message):
                plan("multi30k-transformer", data, *also)


@pytest.mark.parametrize(
    "words, message",
    [
        (["ptb"], r"ptb needs --data DIR, a folder with ptb\.train"),
        (["iwslt14", "--data", "."], "holds no train.de"),
        (["parsing", "--data", "."], "the data of parsing is bundled"),
        (["parsing", "--only", "bso"], "--only bso: is no training of this task; there are nll, nll-more, bso-con"),
        (["parsing", "--also", "bso-con = nll-more"], "with a NAME that is not taken"),
        (["parsing", "--also", "new = bso --lr 1"], "bso is no training; begin with one of nll-more, bso-con"),
        (["parsing", "--also", "new = bso-con --max-update x"], "--max-update is followed by x"),
        (["parsing", "--also", "new = bso-con --max-update 0"], "--max-update 0 would never end"),
        (["parsing", "--also", "new = bso-con --max-update=0"], "--max-update 0 would never end"),
        (["parsing", "--also", "new = bso-con --lr '1"], "--also --lr '1: No closing quotation"),
        (["parsing", "--model", "--arch 'x"], "--model --arch 'x: No closing quotation"),
        (["parsing", "--seeds", "0"], "0: must be 1 or more"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(words, message, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(words)
    error = capsys.readouterr().err.strip().split("\n")[-1]
    assert re.search(message, error), error


def test_bleu_puts_unknown_words_back_and_joins_subwords(tmp_path):
    (tmp_path / "dict.txt").write_text("a 1\nb 1\n")
    (tmp_path / "test.shuffled").write_text("rare a b a\n")
    (tmp_path / "test.ordered").write_text("a rare b a\n")
    (tmp_path / "generated").write_text("T-0\ta <<unk>> b a\nH-0\t-1\ta <unk> b a\n")
    places = {"out": tmp_path, "data": tmp_path, "root": "", "subset": "test"}
    found = statistics_of(RECIPES["tatoeba"], tmp_path / "generated", places)
    assert found.tolist() == [[4, 4, 4, 3, 2, 1, 4, 3, 2, 1]]
    (tmp_path / "test.en").write_text("a ra@@ re b\n")
    (tmp_path / "generated").write_text("T-0\ta rare b\nH-0\t-1\ta rare c d\n")
    found = statistics_of(RECIPES["iwslt14"], tmp_path / "generated", places)
    assert found[:, :10].tolist() == [[4, 3, 2, 1, 0, 0, 4, 3, 2, 1]]
    assert found.shape == (1, 28) and METRICS["chrF"](found.sum(0)) == chrf(found[0, 10:])


def test_the_tables_compare_with_continued_cross_entropy(tmp_path):
    """Two seeds of 40 words each: continued cross entropy has 20 and 22 right heads, BSO has 30 and 28."""
    recipe = RECIPES["parsing"]
    rows = [Row(START, True), Row(MORE, True), Row("bso-con", True)]
    heads = {START: (10, 10), MORE: (20, 22), "bso-con": (30, 28)}

    def counted(right):
        return np.array([[1, int(number < right), 0] for number in range(40)])

    statistics = {
        (row, "test", beam): [counted(right) for right in heads[row.training]] for row in rows for beam in recipe.beams
    }
    seconds = {(seed, one.name): 60.0 * seed for seed in (1, 2) for one in recipe.trainings}
    report = Report(recipe, [1, 2], rows, statistics, seconds)
    text = report.text()
    assert "| cross entropy continued | constrained | 1:30 | 52.5 ± 3.5 |" in text
    assert "| constrained BSO | constrained | 1:30 | +20.0, p 0.0" in text
    assert "words of the output" not in text
    report.write(tmp_path)
    assert (tmp_path / "results.txt").read_text() == text + "\n"
    found = json.loads((tmp_path / "results.json").read_text())
    cell = next(one for one in found["results"] if one["training"] == "bso-con" and one["metric"] == "UAS")
    assert cell["scores"] == [75.0, 70.0] and cell["gain"] == pytest.approx(20.0)
    assert len(cell["p_of_seeds"]) == 2 and all(0 < value < 0.02 for value in (cell["p"], *cell["p_of_seeds"]))
    assert found["trainings"]["bso-con"]["seconds"] == [60.0, 120.0]


def test_several_sets_are_also_scored_together(tmp_path):
    """One word right of four in one set and three of four in the other are half of all words."""
    recipe = replace(RECIPES["parsing"], subsets=("test", "test1"), beams=(2,))
    rows = [Row(MORE, True), Row("bso-con", True)]
    right = {("test", MORE): 1, ("test1", MORE): 3, ("test", "bso-con"): 2, ("test1", "bso-con"): 4}
    statistics = {
        (row, subset, 2): [np.array([[4, right[subset, row.training], 0]])] for row in rows for subset in recipe.subsets
    }
    report = Report(recipe, [1], rows, statistics, {(1, one.name): 1.0 for one in recipe.trainings})
    cells = {cell["training"]: cell for cell in report.cells if cell["metric"] == "UAS" and cell["subset"] == ALL}
    assert cells[MORE]["mean"] == 50 and cells["bso-con"]["mean"] == 75 and cells["bso-con"]["gain"] == 25
    assert len(report.write(tmp_path)) == 3


def test_every_table_has_one_cell_for_each_beam(tmp_path):
    """Two metrics, one table of lengths."""
    recipe = replace(RECIPES["multi30k"], beams=(1, 5))
    rows = [Row(MORE, False), Row("bso", False)]
    both = [bleu_statistics(["a b"], ["a c"], "none", False), chrf_statistics(["a b"], ["a c"], False)]
    counts = np.concatenate(both, axis=1)
    statistics = {(row, subset, beam): [counts] for row in rows for subset in recipe.subsets for beam in recipe.beams}
    report = Report(recipe, [1], rows, statistics, {(1, one.name): 1.0 for one in recipe.trainings})
    lines = report.text().splitlines()
    assert {line.count("|") for line in lines if line.startswith("|")} == {3 + len(recipe.beams) + 1}
    assert sum("words of the output" in line for line in lines) == len(recipe.subsets) + 1
