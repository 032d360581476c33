"""The parentheses recipe with little training, and its programs as commands."""

import os
import subprocess
import sys

from interpretation_example import FOLDER, recipe
from system_commands import ROOT, SUBPROCESS_WITH_FORKS

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def call(script, *words):
    line = [sys.executable, FOLDER / script, *words]
    return subprocess.run(list(map(str, line)), capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT)


def test_from_nothing_to_states_and_the_unit_that_predicts_the_depth(tmp_path, monkeypatch, capsys):
    out, picture = tmp_path / "parentheses", tmp_path / "depth.png"
    monkeypatch.setattr(recipe("recipe"), "subprocess", SUBPROCESS_WITH_FORKS)
    options = ["--out", out, "--updates", 200, "--units", 20, "--picture", picture]
    recipe("parentheses").main([str(word) for word in options])
    said = capsys.readouterr().out
    assert "depth: best of 40 units by correlation" in said
    best = float(said.split("by correlation\n")[1].split()[1])
    control = float(said.split("shifted tracks: ")[1].split()[0])
    assert best > 3 * control  # long training gives more than 0.8 against 0.1
    assert (out / "states" / "capture.json").exists() and picture.stat().st_size > 1000

    again = call("parentheses.py", "--out", out)
    assert again.returncode == 1 and "is there already" in again.stderr

    wrong = call("finding.py", out / "states", "--track", "height")
    assert wrong.returncode == 1
    assert wrong.stderr.strip().splitlines()[-1].startswith("--track height:") and "depth" in wrong.stderr
