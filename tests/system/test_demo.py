"""`make demo` on a few hundred sentences: all stages, the table and the picture."""

import json
from dataclasses import replace

import demo
from demo_report import SYSTEMS
from system_commands import experiment


def test_the_quick_demo_makes_its_table_and_picture_and_skips_what_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "QUICK", replace(demo.QUICK, nll_updates=20))  # 200 updates make a better start
    command = ["demo", "--quick", "--cpu", "--threads", 1, "--out", tmp_path]
    done = experiment(*command)
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
    assert experiment(*command).stdout.count("done before") == len(list((tmp_path / "stamps").glob("*.json")))
    assert (tmp_path / "bso" / "checkpoint_last.pt").stat().st_mtime_ns == before
