"""scripts/experiments/whole_line.py on a few sentences: every stage, the table, and a second run of nothing."""

import json

from system_commands import experiment


def test_every_stage_is_run_once_and_measured(tmp_path):
    command = ["whole_line", "--quick", "--cpu", "--threads", 1, "--out", tmp_path]
    done = experiment(*command)
    found = json.loads((tmp_path / "results.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    students = ["lstm", "lstm-bso", "lstm-float32", "lstm-int8", "transformer", "transformer-bso"]
    assert list(rows) == ["teacher", *students]
    for row in rows.values():
        for measured in row["beams"].values():
            assert measured["bleu"] > 0 and measured["words/s"] > 0

    # Half of the weights of each student are pruned in its BSO; vectors stay whole.
    for student in ("lstm", "transformer"):
        before, after = rows[student], rows[f"{student}-bso"]
        assert before["parameters"] == after["parameters"]
        assert after["not zero"] < 0.7 * before["not zero"]
    assert rows["lstm-int8"]["bytes"] < rows["lstm-float32"]["bytes"] < rows["lstm-bso"]["bytes"]
    # The exported file is the same model: float32 finds the same outputs.
    assert [one["bleu"] for one in rows["lstm-float32"]["beams"].values()] == [
        one["bleu"] for one in rows["lstm-bso"]["beams"].values()
    ]
    for side in ("encoder", "decoder"):
        assert (tmp_path / "states" / side / "lstm.yml").is_file()
    assert (tmp_path / "results.md").read_text().strip() in done.stdout

    assert experiment(*command).stdout.count("done before") == len(found["seconds"])
    assert json.loads((tmp_path / "results.json").read_text()) == found
