"""Translators beside each other: speed, bytes, memory, start and BLEU of each, on one thread.

    python scripts/benchmarks/benchmark_peers.py --text test.de --reference test.en --sentencepiece spm.model \\
        --out DIR "student = runtime model.bso" "student, shortlist = runtime model.bso shortlist=1" \\
        "ONNX, int8 = runtime model" "fairseq = fairseq checkpoint.pt data=DATA" \\
        "Transformer, CTranslate2 = ctranslate2 FOLDER compute_type=int8"

Each system is a NAME, a kind of translators.py, its path, and options. It runs in a process of its own. In every round
all systems translate the same `--sentences` lines in turn. A speed is the median over rounds of source words by seconds
of processor time, without the start. The start is the wall time from the call to the first translation. BLEU is of the
whole text, in batches. The results are in DIR/peers.txt and DIR/peers.json; DIR/peers.png draws BLEU by speed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in ("scripts/experiments", "scripts/tools", "scripts/benchmarks", "."):
    sys.path.insert(0, str(ROOT / folder))
from json_worker import Worker  # noqa: E402

from bso_runtime.endings import exit_after  # noqa: E402

SETTINGS = [(beam, batch) for beam in (1, 5) for batch in (1, 32)]


def parse(arguments=None):
    """The options. Each system is (name, kind, path, {option: value})."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help="NAME = KIND PATH [OPTION=VALUE ...]")
    parser.add_argument("--text", type=Path, help="source text, a sentence a line")
    parser.add_argument("--reference", type=Path, help="its translation")
    parser.add_argument("--sentencepiece", type=Path, help="subword model of fairseq's and CTranslate2's systems")
    parser.add_argument("--lowercase", action="store_true", help="BLEU without case")
    parser.add_argument("--sentences", type=int, default=100, help="lines from the start whose time is measured (100)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder to write")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)  # kind, path, options in JSON, subword model
    options = parser.parse_args(arguments)
    if not options.worker:
        for name in ("text", "reference", "sentencepiece", "out"):
            if getattr(options, name) is None:
                parser.error(f"--{name} is missing")
        try:
            options.systems = [system(text) for text in options.systems]
        except ValueError as problem:
            parser.error(str(problem))
    return options


def system(text):
    """One SYSTEM as (name, kind, path, options). Raises ValueError."""
    from translators import KINDS

    name, equals, rest = (part.strip() for part in text.partition("="))
    kind, *rest = shlex.split(rest) or [""]
    if not equals or not name or kind not in KINDS or not rest:
        raise ValueError(f"{text!r} is no system: write NAME = KIND PATH, with a kind of {', '.join(KINDS)}")
    path, *options = rest
    wrong = [option for option in options if "=" not in option]
    if wrong:
        raise ValueError(f"{text!r}: {wrong[0]} is no option: write OPTION=VALUE")
    return name, kind, path, dict(option.split("=", 1) for option in options)


class System(Worker):
    """A process with one system; `start` is the seconds from its call to its first translation.

    `ask(lines, beam, batch)` translates. It returns seconds of processor time, the peak of memory in MiB, and the
    translations."""

    def __init__(self, kind, path, options, pieces):
        started = time.monotonic()
        super().__init__(f"{kind} {path}", __file__, "--worker", kind, path, json.dumps(options), pieces)
        self.ask(["ein hund ."], 1, 1)
        self.start = time.monotonic() - started


def work(kind, path, options, pieces):
    """Answers the requests to a System. What libraries print goes to standard error."""
    from sentencepiece import SentencePieceProcessor
    from translators import KINDS

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    translate = KINDS[kind](path, SentencePieceProcessor(model_file=pieces), **json.loads(options))
    for request in sys.stdin:
        lines, beam, batch = json.loads(request)
        start = time.process_time()
        found = translate(lines, beam, batch)
        used = time.process_time() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answers.write(json.dumps([used, memory, found]) + "\n")
        answers.flush()


def measure(options):
    """[the row of each system]."""
    from score import bleu
    from translators import size_of

    lines, references = (path.read_text(encoding="utf-8").splitlines() for path in (options.text, options.reference))
    timed = lines[: options.sentences]
    words = sum(len(line.split()) for line in timed)
    workers = {name: System(kind, path, more, options.sentencepiece) for name, kind, path, more in options.systems}
    speeds = {name: {setting: [] for setting in SETTINGS} for name in workers}
    for beam, batch in SETTINGS * (options.rounds + 1):  # the first round warms up
        for name, worker in workers.items():
            speeds[name][beam, batch].append(words / worker.ask(timed, beam, batch)[0])
    rows = []
    for name, _, path, _ in options.systems:
        row = {"name": name, "bytes": size_of(path), "start": workers[name].start, "beams": {}}
        for beam in (1, 5):
            _, row["memory"], found = workers[name].ask(lines, beam, 32)
            score = bleu(found, references, lowercase=options.lowercase)
            by_batch = {batch: round(statistics.median(speeds[name][beam, batch][1:])) for batch in (1, 32)}
            row["beams"][beam] = {"bleu": score["bleu"], "words/s": by_batch}
        row["signature"] = score["signature"]
        rows.append(row)
        workers[name].close()
    return rows


def table(rows):
    """The rows, in Markdown."""
    lines = ["| system | MB | memory, MiB | start, s | BLEU, beam 1 | words/s, line by line | batches of 32 "]
    lines[0] += "| BLEU, beam 5 | line by line | batches of 32 |"
    lines.append("|---" * 10 + "|")
    for row in rows:
        cells = [row["name"], f"{row['bytes'] / 1e6:.1f}", f"{row['memory']:.0f}", f"{row['start']:.1f}"]
        for found in row["beams"].values():
            cells += [f"{found['bleu']:.1f}", *(f"{speed:,}" for speed in found["words/s"].values())]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"sacrebleu {rows[0]['signature']}"])


def draw(pyplot, rows):
    """BLEU by words a second, line by line and in batches; the area of a mark is that of the file."""
    from outputs import logarithmic_x

    palette = pyplot.matplotlib.colormaps["tab20"].colors  # ten strong colours, each before its pale one
    figure, panels = pyplot.subplots(1, 2, figsize=(13, 5), layout="constrained", sharey=True)
    for axes, batch, title in zip(panels, (1, 32), ("line by line", "in batches of 32")):
        for number, row in enumerate(rows):
            speeds, scores = ([found[what] for found in row["beams"].values()] for what in ("words/s", "bleu"))
            speeds, colour = [speed[batch] for speed in speeds], palette[2 * number % 20 + number // 10 % 2]
            axes.plot(speeds, scores, "-", color=colour, linewidth=1)
            axes.scatter(speeds, scores, s=row["bytes"] / 5e4, color=colour, alpha=0.5, label=row["name"])
            for speed, score, beam in zip(speeds, scores, row["beams"]):
                axes.annotate(str(beam), (speed, score), ha="center", va="center", fontsize=8)
        logarithmic_x(axes)
        axes.set_xlabel("source words a second, one thread")
        axes.set_title(f"{title} (area: bytes; number: beam)", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("BLEU")
    panels[1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9, markerscale=0.5)
    return figure


def main(arguments=None):
    """Measures, prints and writes."""
    options = parse(arguments)
    if options.worker:
        work(*options.worker)
        return
    from outputs import draw_with, write_whole

    rows = measure(options)
    options.out.mkdir(parents=True, exist_ok=True)
    write_whole(options.out / "peers.txt", table(rows) + "\n")
    write_whole(options.out / "peers.json", json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    picture = ", peers.png" if draw_with(draw, options.out / "peers.png", rows) else ""
    print(f"\nWrote {options.out}/peers.txt, peers.json{picture}")


if __name__ == "__main__":
    exit_after(main)
