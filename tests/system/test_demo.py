"""`make demo` on a few hundred sentences: all stages, the table and the picture."""

import json
import subprocess
import sys

from demo_report import SYSTEMS
from system_commands import ROOT


def test_the_quick_demo_makes_its_table_and_picture_and_skips_what_is_done(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "experiments" / "demo.py"), "--quick", "--cpu", "--threads", "1"]
    command += ["--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    table = (tmp_path / "results.txt").read_text()
    assert table.strip() in done.stdout and "sacrebleu" in table.lower()
    results = json.loads((tmp_path / "results.json").read_text())
    assert {(cell["system"], cell["beam"]) for cell in results["scores"]} == {
        (system, beam) for system in SYSTEMS for beam in (1, 5)
    }
    assert set(results["train_seconds"]) == {trained for trained, _ in SYSTEMS.values()}
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    # A second run repeats no training.
    before = (tmp_path / "bso" / "checkpoint_last.pt").stat().st_mtime_ns
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (tmp_path / "bso" / "checkpoint_last.pt").stat().st_mtime_ns == before
