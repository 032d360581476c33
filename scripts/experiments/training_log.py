"""Read the log of `fairseq-train --log-format json` (its captured output).

The input is the captured output rather than a `--log-file`. fairseq adds that file to its logger again in every epoch,
so that its lines occur there twice, three times and so on.
"""

import json
import re
from pathlib import Path

RECORD = re.compile(r"\| (train_inner|train|valid) \| (\{.*\})\s*$")
COMMAND = "$ "  # begins the line of a log that holds a run's command


def number(value):
    """fairseq writes most numbers as text ("3.25"); other values stay as they are."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def read_runs(path):
    """The lines of each run that wrote to a log; a run begins with its command."""
    runs = [[]]
    if Path(path).exists():
        for line in Path(path).read_text(encoding="utf-8", errors="replace").split("\n"):
            runs += [[]] if line.startswith(COMMAND) else []
            runs[-1].append(line)
    return runs if runs[0] else runs[1:]


def read_records(lines):
    """The records among lines, as (kind, values); kind is `train_inner`, `train` (one an epoch) or `valid`."""
    records = []
    for line in lines:
        match = RECORD.search(line)
        if match is None:
            continue
        try:
            values = json.loads(match.group(2))
        except json.JSONDecodeError:  # the line that fairseq is still writing
            continue
        records.append((match.group(1), {key: number(value) for key, value in values.items()}))
    return records


def curve(lines, *names):
    """(`num_updates`, *names) for each update that lines report, in order; updates without them are left out."""
    points = {}
    for kind, values in read_records(lines):
        if kind == "train_inner" and all(isinstance(values.get(name), float) for name in ("num_updates", *names)):
            points[int(values["num_updates"])] = tuple(values[name] for name in names)
    return [(update, *points[update]) for update in sorted(points)]


def read_curve(path, *names):
    """The curve of a whole log.

    A resumed training repeats the updates since its last checkpoint. The later report of an update counts.
    """
    return curve([line for run in read_runs(path) for line in run], *names)


def training_progress(path, total):
    """(updates done, `total`, a note with the last loss), for a progress display.

    An earlier run of the same training may have got further than its last checkpoint, so the last run alone counts.
    Where it began is not known before its first report: the total is then 0, unless there was no earlier run.
    """
    runs = read_runs(path)
    reported = curve(runs[-1], "loss") if runs else []
    if not reported:
        return 0, 0 if len(runs) > 1 else total, ""
    update, loss = reported[-1]
    return update, total, f"loss {loss:.3f}"
