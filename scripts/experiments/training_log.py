"""Read the log of `fairseq-train --log-format json` (its captured output).

The input is the captured output rather than a `--log-file`. fairseq adds that file to its logger again in every epoch,
so that its lines occur there twice, three times and so on.
"""

import json
import re
from pathlib import Path

RECORD = re.compile(r"\| (train_inner|train|valid) \| (\{.*\})\s*$")


def number(value):
    """fairseq writes most numbers as text ("3.25"); other values stay as they are."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def read_records(path):
    """All records of a log, as (kind, values); kind is `train_inner`, `train` (one an epoch) or `valid`."""
    records = []
    if not Path(path).exists():
        return records
    for line in Path(path).read_text(encoding="utf-8", errors="replace").split("\n"):
        match = RECORD.search(line)
        if match is None:
            continue
        try:
            values = json.loads(match.group(2))
        except json.JSONDecodeError:  # the line that fairseq is still writing
            continue
        records.append((match.group(1), {key: number(value) for key, value in values.items()}))
    return records


def read_curve(path, *names):
    """(`num_updates`, *names) for each reported update of the training, in order; updates without them are left out.

    A resumed training repeats the updates since its last checkpoint. The later report of an update counts.
    """
    points = {}
    for kind, values in read_records(path):
        if kind == "train_inner" and all(isinstance(values.get(name), float) for name in ("num_updates", *names)):
            points[int(values["num_updates"])] = tuple(values[name] for name in names)
    return [(update, *points[update]) for update in sorted(points)]


def training_progress(path, total):
    """(updates done, `total`, a note with the last loss), for a progress display."""
    curve = read_curve(path, "loss")
    if not curve:
        return 0, total, ""
    update, loss = curve[-1]
    return update, total, f"loss {loss:.3f}"
