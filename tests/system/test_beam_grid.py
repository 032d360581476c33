"""scripts/experiments/beam_grid.py on a few sentences: all stages, the table and the picture."""

import json
import random
import subprocess
import sys

from endurance.number_words import WORDS
from system_commands import ROOT, TINY, run


def test_the_grid_has_every_training_and_test_beam(tmp_path):
    generator = random.Random(1)
    for name, count in (("train", 64), ("valid", 8), ("test", 9)):
        lines = [" ".join(sorted(generator.sample(WORDS, 4))) for _ in range(count)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    folder = tmp_path / "ordering"
    script = [sys.executable, ROOT / "scripts" / "experiments" / "prepare_word_ordering.py", "--out", folder]
    files = [word for name in ("train", "valid", "test") for word in (f"--{name}", tmp_path / f"{name}.txt")]
    subprocess.run([*map(str, script + files)], check=True)
    languages = ["--source-lang", "shuffled", "--target-lang", "ordered", "--joined-dictionary"]
    languages += ["--srcdict", folder / "dict.txt", "--destdir", folder / "data-bin"]
    prefixes = [word for name in ("train", "valid", "test") for word in (f"--{name}pref", folder / name)]
    run("preprocess", *languages, *prefixes)
    few = ["--max-update", 3, "--no-epoch-checkpoints"]
    common = ["--user-dir", ROOT / "fairseq_bso", "--cpu", "--num-workers", 0, *TINY, *few]
    run("train", folder / "data-bin", *common, "--criterion", "cross_entropy", "--save-dir", tmp_path / "nll")
    # The one experiment that is tested as a command, with a server of forks that it starts by itself.
    command = [sys.executable, ROOT / "scripts" / "experiments" / "beam_grid.py", folder, "--out", tmp_path / "grid"]
    command += ["--start", tmp_path / "nll" / "checkpoint_best.pt", "--cpu", "--threads", 1]
    command += ["--train-beams", 3, "--test-beams", 1, 4, "--", *TINY, *few]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BSO-Con, beam 3" in done.stdout
    found = json.loads((tmp_path / "grid" / "grid.json").read_text())
    assert [(cell["trained"], cell["beam"], cell["sentences"]) for cell in found] == [
        ("cross entropy", 1, 9),
        ("cross entropy", 4, 9),
        ("3", 1, 9),
        ("3", 4, 9),
    ]
    assert (tmp_path / "grid" / "grid.png").read_bytes().startswith(b"\x89PNG")
