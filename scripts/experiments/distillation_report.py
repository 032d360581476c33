"""The table and the picture of a distillation: the scores and the decoding speed of each trained system.

    python scripts/experiments/distillation_report.py m30k/data-bin --reference m30k/text/test.en --lowercase \\
        --remove-bpe sentencepiece --out m30k/report \\
        --system "teacher 2x512=m30k/teacher/checkpoint_best.pt" \\
        --system "student on gold=m30k/gold/checkpoint_best.pt" ...

fairseq-generate runs three times for every system, one sentence at a time on one CPU thread. It decodes with beam 1 and
with beam 5, and scores the references. Its output stays in OUT; a system with an unchanged checkpoint is not run again.
The results are in OUT/results.json, OUT/results.md and, where matplotlib is installed, OUT/results.png.

    BLEU          sacrebleu on the words of --reference
    perplexity    of the references, per target symbol (pieces, where the data has pieces), </s> included
    p(mode)       probability of the best hypothesis of beam 5, mean over the sentences
    words/s       source words (joined from pieces) per second of fairseq-generate's search
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from command_line import exit_after, make_parser
from forked import Forked
from installation import PLUGIN, ROOT, program, tool
from outputs import draw_with, logarithmic_x, only_writer, write_whole

score = tool("score")


def parse_arguments(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("data", metavar="DATA", help="what fairseq-preprocess wrote")
    parser.add_argument("--system", action="append", required=True, metavar="NAME=CHECKPOINT", help="one or more")
    parser.add_argument("--reference", required=True, type=Path, metavar="FILE", help="plain text of the subset")
    parser.add_argument("--subset", default="test", help="which subset is decoded (test)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--remove-bpe", metavar="KIND", help="how symbols are joined to words, as fairseq has it")
    parser.add_argument("--lowercase", action="store_true", help="sacrebleu's -lc")
    parser.add_argument("--batch-size", type=int, default=1, help="sentences decoded together (1)")
    arguments = parser.parse_args(argv)
    for system in arguments.system:
        name, _, path = system.partition("=")
        if not name or not Path(path).is_file():
            parser.error(f"--system {system}: must be NAME=CHECKPOINT, and the checkpoint must exist")
    return arguments


def generate(arguments, checkpoint, log, *options):
    """Runs fairseq-generate once, unless `log` is already the log of this run."""
    command = [program("fairseq-generate"), arguments.data, "--user-dir", str(PLUGIN)]
    command += ["--task", "bso_translation", "--path", checkpoint, "--gen-subset", arguments.subset, "--cpu"]
    command += ["--batch-size", str(arguments.batch_size), "--required-batch-size-multiple", "1", *options]
    command += ["--remove-bpe", arguments.remove_bpe] if arguments.remove_bpe else []
    stamp = hashlib.sha256(Path(checkpoint).read_bytes() + "\n".join(command).encode()).hexdigest()
    beside = log.with_suffix(".stamp")
    if log.exists() and beside.exists() and beside.read_text() == stamp:
        return
    partial = log.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if Forked(command[0], command[1:], partial, environment).wait():
        end = partial.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"fairseq-generate failed for {checkpoint}:\n{end}")
    os.replace(partial, log)
    beside.write_text(stamp)


def positional(log):
    """The log2-probabilities of each best hypothesis, symbol by symbol."""
    found = {}
    for line in score.read_lines(log):
        if line.startswith("P-"):
            name, scores = line.split("\t")
            found.setdefault(name, [float(value) for value in scores.split()])
    return list(found.values())


def source_words(log):
    return sum(len(line.split("\t")[1].split()) for line in score.read_lines(log) if line.startswith("S-"))


def tensors(checkpoint):
    """The parameters of a checkpoint's model; a matrix that two parts share occurs once."""
    sys.path.insert(0, str(ROOT))
    from fairseq_bso.checkpoints import distinct_parameters, load_state

    return [part for _, part in distinct_parameters(load_state(str(checkpoint)))]


def parameters(checkpoint):
    """The number of parameters of a checkpoint's model."""
    return sum(part.numel() for part in tensors(checkpoint))


def measure(arguments, name, checkpoint):
    """One row of the table."""
    folder = arguments.out / "".join(letter if letter.isalnum() else "-" for letter in name)
    folder.mkdir(parents=True, exist_ok=True)
    row = {"name": name, "checkpoint": checkpoint, "parameters": parameters(checkpoint)}
    for beam in (1, 5):
        log = folder / f"beam{beam}.txt"
        print(f"{name}: beam {beam}", flush=True)
        generate(arguments, checkpoint, log, "--beam", str(beam), "--max-len-a", "1.5", "--max-len-b", "10")
        scored = score.score_file(log, arguments.reference, lowercase=arguments.lowercase)
        row[f"bleu {beam}"], row["signature"] = scored["bleu"], scored["signature"]
        row[f"words/s {beam}"] = round(source_words(log) / scored["seconds"], 1)
    hypotheses = positional(folder / "beam5.txt")
    row["p(mode)"] = sum(2 ** sum(scores) for scores in hypotheses) / len(hypotheses)
    print(f"{name}: references", flush=True)
    generate(arguments, checkpoint, folder / "references.txt", "--score-reference")
    references = positional(folder / "references.txt")
    row["perplexity"] = 2 ** (-sum(map(sum, references)) / sum(map(len, references)))
    return row


def table(rows):
    """The table in Markdown."""
    lines = ["| system | parameters | BLEU, beam 1 | beam 5 | perplexity | p(mode) | words/s, beam 1 | beam 5 |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        cells = [row["name"], f"{row['parameters'] / 1e6:.1f}M", f"{row['bleu 1']:.1f}", f"{row['bleu 5']:.1f}"]
        cells += [f"{row['perplexity']:.1f}", f"{100 * row['p(mode)']:.1f}%"]
        cells += [f"{row['words/s 1']:.0f}", f"{row['words/s 5']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"sacrebleu `{rows[0]['signature']}`", ""])


def draw(pyplot, rows):
    """BLEU against words per second: a line for each system, from beam 5 to beam 1."""
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    colours = pyplot.get_cmap("tab20").colors
    for number, row in enumerate(rows):
        speeds, scores = [row["words/s 5"], row["words/s 1"]], [row["bleu 5"], row["bleu 1"]]
        colour = colours[number % len(colours)]
        axes.plot(speeds, scores, color=colour, linewidth=1, label=row["name"])
        axes.plot(speeds[:1], scores[:1], "o", color=colour)
        axes.plot(speeds[1:], scores[1:], "^", color=colour)
    logarithmic_x(axes)
    axes.set_xlabel("source words per second, one CPU thread (circle: beam 5, triangle: beam 1)")
    axes.set_ylabel("BLEU")
    axes.legend(fontsize=8)
    return figure


def main(argv=None):
    arguments = parse_arguments(argv)
    with only_writer(arguments.out):
        arguments.out.mkdir(parents=True, exist_ok=True)
        compare(arguments)


def compare(arguments):
    """Measures all systems, prints the table and draws the picture."""
    rows = [measure(arguments, *system.split("=", 1)) for system in arguments.system]
    write_whole(arguments.out / "results.json", json.dumps(rows, indent=1) + "\n")
    write_whole(arguments.out / "results.md", table(rows))
    print("\n" + table(rows))
    draw_with(draw, arguments.out / "results.png", rows)


if __name__ == "__main__":
    exit_after(main)
