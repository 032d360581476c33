"""scripts/experiments: stages, the environment of their commands, training logs and progress lines."""

import argparse
import io
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from command_line import number_after, parse_with_rest
from forked import PROCESSOR_TIME, Forked, processor_time, script_of
from installation import ROOT, threads_environment
from progress import Progress, clock
from stages import Runner, Stage, StageFailed, ends_with_one_message, portable
from training_log import read_curve, training_progress

EXPERIMENTS = ROOT / "scripts" / "experiments"
APPEND = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.mkdir(exist_ok=True); open(p / 'runs', 'a').write('x')"


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("one", encoding="utf-8")
    return path


def append_stage(tmp_path, data, name="first", **options):
    """A stage that appends one letter to a file in every run."""
    folder = tmp_path / name
    return Stage(name, name, [sys.executable, "-c", APPEND, str(folder)], [data], [folder], **options)


def runs(tmp_path, name="first"):
    return (tmp_path / name / "runs").read_text(encoding="utf-8")


def test_a_finished_stage_is_skipped_until_its_input_changes(tmp_path, data):
    stage = append_stage(tmp_path, data)
    for _ in range(2):
        Runner(tmp_path, {}).run(stage)
    assert runs(tmp_path) == "x"
    (tmp_path / "first" / "old").touch()
    data.write_text("two", encoding="utf-8")
    Runner(tmp_path, {}).run(stage)
    assert runs(tmp_path) == "x"
    assert not (tmp_path / "first" / "old").exists(), "outputs of an old run must not stay"


def test_fresh_and_a_lost_output_run_again_and_so_does_what_comes_after(tmp_path, data):
    first = append_stage(tmp_path, data)
    second = append_stage(tmp_path, data, "second", after=[first])
    for runner in (Runner(tmp_path, {}), Runner(tmp_path, {})):
        runner.run(first), runner.run(second)
    (tmp_path / "second" / "mark").touch()
    Runner(tmp_path, {}, fresh=True).run(first)
    Runner(tmp_path, {}).run(second)
    assert not (tmp_path / "second" / "mark").exists()


def test_what_another_command_made_is_refused_and_stays(tmp_path, data):
    first = append_stage(tmp_path, data)
    Runner(tmp_path, {}).run(first)
    other = append_stage(tmp_path, data)
    other.command = [*other.command, "--lr", "0.1"]
    with pytest.raises(StageFailed, match="(?s)first would be lost.*now only: +--lr 0.1.*another --out"):
        Runner(tmp_path, {}).run(other)
    assert runs(tmp_path) == "x"
    Runner(tmp_path, {}, fresh=True).run(other)
    assert runs(tmp_path) == "x" and "--lr" in Runner(tmp_path, {}).stamp(other)["command"]


def test_a_folder_that_a_failed_command_left_empty_is_no_loss(tmp_path, data):
    """`fairseq-train` makes its folder first; the command that failed then is corrected and called again."""
    stage = append_stage(tmp_path, data)
    right, stage.command[2] = stage.command[2], "import os, sys; os.mkdir(sys.argv[1]); sys.exit(1)"
    with pytest.raises(StageFailed, match="ended with code 1"):
        Runner(tmp_path, {}).run(stage)
    assert (tmp_path / "first").is_dir()
    stage.command[2] = right
    Runner(tmp_path, {}).run(stage)
    assert runs(tmp_path) == "x"


def test_a_command_is_the_same_wherever_the_project_and_the_programs_lie():
    here = portable(["/usr/bin/train", "data", "--user-dir", str(ROOT / "fairseq_bso")])
    assert here == portable(["/home/me/.venv/bin/train", "data", "--user-dir", "/fairseq_bso"])
    assert here != portable(["/usr/bin/train", "data2", "--user-dir", str(ROOT / "fairseq_bso")])


def test_a_second_run_waits_and_finds_the_stage_done(tmp_path, data, capfd):
    slow = append_stage(tmp_path, data)
    slow.command[2] = "import time; time.sleep(2); " + APPEND
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda runner: runner.run(slow), [Runner(tmp_path, {}), Runner(tmp_path, {})]))
    assert runs(tmp_path) == "x"
    assert "waiting" in capfd.readouterr().out


@pytest.mark.parametrize("resumes, left", [(True, "xx"), (False, "x")])
def test_an_interrupted_stage_goes_on_only_if_it_can(tmp_path, data, resumes, left):
    stage = append_stage(tmp_path, data, resumes=resumes)
    runner = Runner(tmp_path, {})
    runner.run(stage)
    stamp = runner.stamp(stage)
    del stamp["finished"]
    runner.write_stamp(stage, **stamp)
    Runner(tmp_path, {}).run(stage)
    assert runs(tmp_path) == left


def test_a_failing_stage_shows_the_end_of_its_log_and_where_it_is(tmp_path, data):
    stage = Stage("bad", "A bad one", [sys.executable, "-c", "raise SystemExit('no more sugar')"], [data], [])
    runner = Runner(tmp_path, {})
    with pytest.raises(StageFailed, match="(?s)A bad one: ended with code 1.*no more sugar.*bad.log"):
        runner.run(stage)
    assert "finished" not in runner.stamp(stage)


def test_a_signal_from_outside_acts_as_ctrl_c(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, ends_with_one_message():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 130 and "run the same command again" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_program_that_is_stopped_while_a_command_starts_ends_that_command_too(tmp_path, monkeypatch):
    begun = []

    def start(runner, command, log):
        os.kill(os.getpid(), signal.SIGTERM)
        begun.append(subprocess.Popen(command, stdout=log))
        return begun[0]

    monkeypatch.setattr(Runner, "start", start)
    stage = Stage("long", "long", [sys.executable, "-c", "import time; time.sleep(600)"], [], [])
    with pytest.raises(SystemExit) as ended, ends_with_one_message():
        Runner(tmp_path, {}).run(stage)
    assert ended.value.code == 130 and begun[0].returncode == -signal.SIGTERM


STARTS = """
import os, sys
from forked import Forked
if __name__ == "__main__":
    Forked(sys.argv[1], [], sys.argv[2], dict(os.environ)).wait()
"""


def test_a_forked_program_ends_when_its_parent_is_killed(tmp_path):
    script, output, starts = tmp_path / "program.py", tmp_path / "log", tmp_path / "starts.py"
    script.write_text("import time\nprint('begun', flush=True)\ntime.sleep(60)\nprint('survived')\n")
    output.touch()
    starts.write_text(STARTS)
    path = {"PYTHONPATH": os.pathsep.join(filter(None, [str(EXPERIMENTS), os.environ.get("PYTHONPATH")]))}
    parent = subprocess.Popen([sys.executable, str(starts), str(script), str(output)], env={**os.environ, **path})
    while "begun" not in output.read_text():
        assert parent.poll() is None
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    while PROCESSOR_TIME not in output.read_text():  # the last line of every program
        time.sleep(0.1)
    assert "survived" not in output.read_text()


TRAINING = """INFO | fairseq_cli.train | {'not': 'json'}
2024 | INFO | train_inner | {"epoch": 1, "loss": "5.5", "violations_per_token": "0.9", "num_updates": "10"}
2024 | INFO | valid | {"epoch": 1, "valid_loss": "4.0", "valid_num_updates": "15"}
2024 | INFO | train_inner | {"epoch": 1, "loss": "5", "violations_per_token": "0.8", "num_updates": "20"}
2024 | INFO | train_inner | {"epoch": 1, "loss": "4", "violations_per_token": "0.7", "num_updates": "20"}
2024 | INFO | train_inner | {"epoch": 1, "upd"""


def test_curve_of_a_resumed_training_takes_the_later_report(tmp_path):
    log = tmp_path / "log"
    log.write_text(TRAINING, encoding="utf-8")
    assert read_curve(log, "violations_per_token", "loss") == [(10, 0.9, 5.5), (20, 0.7, 4.0)]
    assert read_curve(log, "absent") == []
    assert training_progress(log, 50) == (20, 50, "loss 4.000")
    assert training_progress(tmp_path / "none", 50) == (0, 50, "")


RESTARTED = """$ fairseq-train data
2024 | INFO | train_inner | {"epoch": 1, "loss": "5", "num_updates": "30"}
$ fairseq-train data
"""


def test_the_progress_of_a_resumed_training_is_that_of_its_last_run(tmp_path):
    """The first run got to update 30, but its last checkpoint, if there is one, is of an earlier update."""
    log = tmp_path / "log"
    log.write_text(RESTARTED, encoding="utf-8")
    assert training_progress(log, 50) == (0, 0, "")
    log.write_text(RESTARTED + RESTARTED.splitlines()[1].replace("30", "10"), encoding="utf-8")
    assert training_progress(log, 50) == (10, 50, "loss 5.000")
    assert read_curve(log, "loss") == [(10, 5.0), (30, 5.0)]
    log.write_text(RESTARTED.splitlines()[0] + "\n", encoding="utf-8")
    assert training_progress(log, 50) == (0, 50, "")


def test_clock():
    assert [clock(value) for value in (0, 59.4, 61, 3600)] == ["0:00", "0:59", "1:01", "1:00:00"]


def test_without_a_terminal_progress_is_one_line_in_thirty_seconds():
    """The first report is at 10 updates and 0 s. The next 40 updates take 40 s, so the remaining 50 need 50 s."""
    time = [0.0]
    stream = io.StringIO()
    progress = Progress("update", stream, now=lambda: time[0])
    progress.show(10, 100)
    time[0] = 20.0
    progress.show(30, 100)
    time[0] = 40.0
    progress.show(50, 100, "loss 3.0")
    assert stream.getvalue() == "  update 50 of 100, loss 3.0, 0:40 passed, about 0:50 left\n"


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], 0),
        (["--lr", "1", "--max-update", "30"], 30),
        (["--max-update=7", "--lr", "1"], 7),
        (["--max-update", "3", "--max-update", "5"], 5),
    ],
)
def test_the_number_after_an_option_is_what_a_parser_would_take(words, expected):
    assert number_after(words, "--max-update") == expected


@pytest.mark.parametrize("words", [["--max-update"], ["--max-update", "many"], ["--max-update=", "3"]])
def test_what_follows_the_two_dashes_is_looked_at_before_anything_runs(words, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--amount", type=int)
    assert parse_with_rest(parser, ["--amount", "2", "--", "--amount", "3"]).rest == ["--amount", "3"]
    with pytest.raises(SystemExit):
        parse_with_rest(parser, ["--", *words])
    assert "after --: --max-update is followed by" in capsys.readouterr().err


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StageFailed, match="file/logs cannot be made: Not a directory"):
        Runner(tmp_path / "file", {})


def test_programs_of_this_python_are_forked_and_others_are_not(tmp_path):
    script = tmp_path / "program.py"
    assert script_of([sys.executable, str(script), "a", "b"]) == (str(script), ["a", "b"])
    installed = Path(sys.executable).parent / "fairseq-train"
    assert script_of([str(installed), "data"]) == (str(installed), ["data"])
    for command in ([sys.executable, "-c", "pass"], ["/usr/bin/fairseq-train", "data"], ["sh", "-c", "true"]):
        assert script_of(command) == (None, command)


def test_a_forked_program_is_like_one_of_its_own(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        "import os, sys\nif __name__ == '__main__':\n"
        "    print(sys.argv, os.environ['GIVEN'], sys.path[0], os.getcwd())\n"
        "    print('problem', file=sys.stderr)\n    sys.exit(int(sys.argv[1]))\n"
    )
    for status in (0, 7):
        output = tmp_path / f"log{status}"
        output.write_text("before\n")
        program = Forked(script, [str(status)], output, {"GIVEN": "value", "PATH": os.environ["PATH"]})
        assert program.wait(60) == program.returncode == status
        shown = f"{[str(script), str(status)]} value {tmp_path} {os.getcwd()}"
        *lines, time = output.read_text().splitlines()
        assert sorted(lines) == sorted(["before", shown, "problem"])
        assert time == f"{PROCESSOR_TIME} {processor_time(output):.1f}"


def test_a_forked_program_has_the_threads_of_its_own_environment(tmp_path):
    script, output = tmp_path / "program.py", tmp_path / "log"
    script.write_text("import torch\nprint(torch.get_num_threads())\n")
    for threads in ("2", "1", "3"):  # all forked from one server
        assert Forked(script, [], output, {**os.environ, "OMP_NUM_THREADS": threads}).wait(60) == 0
    assert [line for line in output.read_text().splitlines() if PROCESSOR_TIME not in line] == ["2", "1", "3"]


def test_a_forked_program_shows_its_exception_and_can_be_stopped(tmp_path):
    script, output = tmp_path / "program.py", tmp_path / "log"
    script.write_text("raise ValueError('seven')\n")
    program = Forked(script, [], output, dict(os.environ))
    assert program.wait() == 1 and "ValueError: seven" in output.read_text()
    busy = "while time.process_time() < {}: pass\n"
    script.write_text(f"import time\n{busy.format(0.2)}print('begun', flush=True)\n{busy.format(60)}")
    program = Forked(script, [], output, dict(os.environ))
    while "begun" not in output.read_text():
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(0.3)
    program.terminate()
    assert program.wait(60) == -signal.SIGTERM
    assert output.read_text().count(PROCESSOR_TIME) == 2 and processor_time(output) >= 0.2


def test_the_processor_time_of_a_log_is_that_of_all_its_programs(tmp_path):
    log = tmp_path / "log"
    log.write_text("one\nseconds of processor time: 2.5\ntwo\nseconds of processor time: 1.0\n")
    assert processor_time(log) == 3.5
    log.write_text("a program that was not forked\n")
    assert processor_time(log) is None


@pytest.mark.parametrize(
    "own", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}, {"MALLOC_TRIM_THRESHOLD_": "5"}]
)
def test_commands_keep_what_the_user_has_set_for_memory_and_threads(own, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    found = threads_environment(2)
    assert found["OMP_NUM_THREADS"] == "2" and not own.keys() & found.keys()
    assert ("GOMP_SPINCOUNT" in found) == ("MALLOC_TRIM_THRESHOLD_" in own or not own)
    assert "MALLOC_MMAP_THRESHOLD_" in found
