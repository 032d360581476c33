"""The table of whole_line.py: size, BLEU and speed after each stage."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

from distillation_report import tensors
from installation import tool
from outputs import write_whole
from prepare_word_ordering import SOURCE, TARGET
from progress import clock
from stages import Stage

score = tool("score")


@dataclass(frozen=True)
class Row:
    """One line of the table: a model after a stage."""

    name: str
    model: str  # its title
    after: str  # the title of the stage
    checkpoint: Path
    exported: Path | None = None  # the file of `fairseq-bso export`, if that is what was decoded


@dataclass(frozen=True)
class Decoding:
    """The output of a model with one beam."""

    stage: Stage
    file: Path


def size(row):
    """Parameters, parameters that are not exactly zero, and bytes of the file with the weights.

    A checkpoint holds the optimizer's state too. So the bytes are those of a file with its weights alone."""
    parts = tensors(row.checkpoint)
    found = {"parameters": sum(part.numel() for part in parts)}
    found["not zero"] = sum(int(part.count_nonzero()) for part in parts)
    return {**found, "bytes": row.exported.stat().st_size if row.exported else bytes_of(parts)}


def bytes_of(parts):
    """The bytes of the file that torch writes for these tensors."""
    import torch

    file = io.BytesIO()
    torch.save([part.clone() for part in parts], file)
    return file.tell()


def outputs_of(row, decoding, text):
    """The outputs and the references of one decoding, with the source's unknown words in the outputs."""
    references, sources, known = (text / name for name in (f"test.{TARGET}", f"test.{SOURCE}", "dict.txt"))
    if not row.exported:
        return score.read_texts(decoding.file, references, sources, known)
    vocabulary = {line.rsplit(" ", 1)[0] for line in score.read_lines(known)}
    pairs = zip(score.read_lines(decoding.file), score.read_lines(sources))
    return [score.fill_unknown(output, source, vocabulary) for output, source in pairs], score.read_lines(references)


def measure(text, decoded, seconds):
    """One dict for each row, in order. The arguments are those of `write_report`."""
    found = {}
    for (row, beam), decoding in decoded.items():
        if row not in found:
            found[row] = {"name": row.name, "model": row.model, "after": row.after, **size(row), "beams": {}}
        texts, references = outputs_of(row, decoding, text)
        scored = score.bleu(texts, references, tokenize="none")
        # The whole command is timed for an exported file, start and reading included. fairseq rounds to 0.1 seconds.
        lines = [] if row.exported else score.read_lines(decoding.file)
        taken = seconds[decoding.stage.name] if row.exported else max(0.05, score.read_seconds(lines))
        words = sum(len(line.split()) for line in references)
        found[row]["beams"][beam] = {key: scored[key] for key in ("bleu", "signature")}
        found[row]["beams"][beam]["words/s"] = round(words / taken, 1)
    return list(found.values())


def table(rows):
    """The table in Markdown."""
    beams = list(rows[0]["beams"])
    heads = ["model", "after", "parameters", "not zero", "MB"]
    heads += [f"{title}, beam {beam}" for title in ("BLEU", "words/s") for beam in beams]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [row["model"], row["after"], f"{row['parameters'] / 1e6:.2f}M", f"{row['not zero'] / 1e6:.2f}M"]
        cells.append(f"{row['bytes'] / 1e6:.2f}")
        cells += [f"{row['beams'][beam]['bleu']:.1f}" for beam in beams]
        cells += [f"{row['beams'][beam]['words/s']:,.0f}" for beam in beams]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"sacrebleu `{rows[0]['beams'][beams[0]]['signature']}`", ""])


def write_report(out, text, decoded, seconds):
    """Prints the table and writes results.md and results.json.

    Args:
        out: the folder of the line; its `logs` hold the output of each stage.
        text: the folder of the texts.
        decoded: (row, beam) -> Decoding.
        seconds: name of a stage -> the seconds it took.
    """
    rows = measure(text, decoded, seconds)
    times = {name: round(value, 1) for name, value in seconds.items()}
    made = ", ".join(f"{name} {clock(value)}" for name, value in seconds.items() if (out / name).is_dir())
    found = f"{table(rows)}\nMinutes: {made}\n"
    write_whole(out / "results.json", json.dumps({"rows": rows, "seconds": times}, indent=1) + "\n")
    write_whole(out / "results.md", found)
    print("\n" + found)
