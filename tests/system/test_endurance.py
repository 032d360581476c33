"""The short form of the campaigns of `scripts/tools/endure.py`."""

import json
import subprocess
import sys

from system_commands import ROOT


def test_a_few_cases_of_every_campaign_pass_and_a_second_run_has_nothing_to_do(tmp_path):
    line = [sys.executable, ROOT / "scripts" / "tools" / "endure.py", "--quick", "--out", tmp_path]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {path.stem: path.read_text().splitlines() for path in tmp_path.glob("*.jsonl")}
    assert lines.keys() == {"kills", "bad-files", "room", "workers", "load"}
    assert not any(json.loads(line)["failure"] for some in lines.values() for line in some)
    again = subprocess.run([*line, "--table"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "| kills/distill-2 | 1 |" in again.stdout and "| load/view | 480 |" in again.stdout
