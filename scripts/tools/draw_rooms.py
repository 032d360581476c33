"""Draws docs/architecture.png: the rooms of the package and the imports between them, read from the source.

    python scripts/tools/draw_rooms.py [--out docs/architecture.png]

`make docs` runs it. A room without a place in PLACES is an error.
"""

import argparse
import ast
import runpy
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
exit_after = runpy.run_path(str(ROOT / "bso_runtime" / "endings.py"))["exit_after"]

PLACES = {
    "interpret.view": (15.4, 4, "files -> page"),
    "interpret.live": (12.1, 3, "one's own text"),
    "distill": (4.2, 3, "student and teacher"),
    "tasks": (2.2, 2, "bso_translation"),
    "bso": (6.6, 2, "loss, costs, criterion"),
    "interpret.attribution": (9.45, 2.3, "words by gradients"),
    "interpret.capture": (12.1, 2.3, "states -> files"),
    "interpret.ablate": (14.6, 2.3, "the loss without a unit"),
    "interpret.models": (10.9, 1.5, "states read and set"),
    "prune": (1.2, 1, "masks and schemes"),
    "decoding": (3.6, 1, "constraints at test"),
    "models": (6.6, 1, "bso_lstm, any model"),
    "cross_entropy": (8.9, 3, "blocks, own words"),
    "interpret.folder": (14.0, 1, "the files' format"),
    "shortlist": (3.9, 0, "words of a sentence"),
    "export": (17.4, 1, "checkpoint -> file"),
    "overview": (17.4, 2, "lists of options"),
    "doctor": (17.4, 3, "does it work here?"),
    "search": (6.4, 0, "the algorithm"),
    "interpret.units": (14.7, 0, "which unit tells what"),
    "bso_runtime": (17.4, 0, "numpy, no torch"),
}
"""room -> x, level and caption"""
PURE = ("search", "interpret.units", "bso_runtime")
"""rooms without fairseq"""
WIDTH, HEIGHT, LEVEL, LETTER = 2.3, 0.62, 1.25, 0.125
LONGEST, LINE = 130, 0.22  # letters in a line of a caption, and the height of one more line
EDGE, PLAIN, LIGHT, ARROW = "#37474f", "#e3edf7", "#dcefdc", "#78909c"


def room(name):
    """The room of a dotted name; "" for a file at the top of fairseq_bso."""
    parts = name.split(".")
    if parts[0] == "bso_runtime":
        return "bso_runtime"
    inner = ".".join(parts[1:3]) if parts[1:2] == ["interpret"] else ".".join(parts[1:2])
    is_room = inner == "tasks" or (ROOT / "fairseq_bso" / inner.replace(".", "/")).is_dir()
    return inner if is_room and inner != "interpret" else ""


def arrows():
    """The pairs (importing room, imported room), in order."""
    found = set()
    for path in [path for package in ("fairseq_bso", "bso_runtime") for path in (ROOT / package).rglob("*.py")]:
        here = path.relative_to(ROOT).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                base = [*here[: len(here) - node.level]] if node.level else []
                module = ".".join([*base, *([node.module] if node.module else [])])
                for name in (f"{module}.{alias.name}" for alias in node.names):
                    if name.startswith(("fairseq_bso.", "bso_runtime.")):
                        found.add((room(".".join(here)), room(name)))
    return sorted((one, other) for one, other in found if one and other and one != other)


def draw(out):
    """Writes the picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pairs = arrows()
    ground = {path.stem for path in (ROOT / "fairseq_bso").glob("*.py")} - {"__init__", "cli", "plugins", "tasks"}
    missing = {name for pair in pairs for name in pair} - set(PLACES)
    if missing:
        raise SystemExit(f"no place in the picture for {', '.join(sorted(missing))}: add it to PLACES")
    figure, axes = pyplot.subplots(figsize=(16.5, 7.8))
    for one, other in pairs:
        _arrow(axes, one, other)
    for name, (x, level, caption) in PLACES.items():
        width = max(WIDTH, LETTER * len(name))  # a long name widens its box
        _box(axes, x, level * LEVEL, width, name, caption, LIGHT if name in PURE else PLAIN)
    middle, whole = 9.3, 18.4
    _box(
        axes,
        middle,
        4.85 * LEVEL,
        whole,
        "fairseq_bso/plugins.py, cli.py",
        "register everything; name the subcommands",
    )
    _box(axes, 7.1, -1.0 * LEVEL, 14.0, "ground files, for every room", ", ".join(sorted(ground)))
    axes.text(16.4, -1.0 * LEVEL, "green: pure torch or numpy,\nwithout fairseq", ha="center", va="center", fontsize=9)
    axes.set_xlim(0, 18.6)
    axes.set_ylim(-1.5 * LEVEL, 5.15 * LEVEL)
    axes.axis("off")
    figure.savefig(out, dpi=110, bbox_inches="tight", metadata={"Software": None})


def _box(axes, x, y, width, name, caption, colour="#f5f5f5"):
    from matplotlib.patches import FancyBboxPatch

    lines = textwrap.wrap(caption, LONGEST)
    more = LINE * (len(lines) - 1)
    corner = (x - width / 2, y - HEIGHT / 2 - more)
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, width, HEIGHT + more, boxstyle=style, fc=colour, ec=EDGE, zorder=2))
    axes.text(x, y + 0.11, name, ha="center", va="center", fontsize=10.5, fontweight="bold", zorder=3)
    bottom = y - 0.15 - more / 2
    axes.text(x, bottom, "\n".join(lines), ha="center", va="center", fontsize=8.5, color="#455a64", zorder=3)


def _arrow(axes, one, other):
    (x, level, _), (to_x, to_level, _) = PLACES[one], PLACES[other]
    begin = (x, level * LEVEL - HEIGHT / 2)
    end = (to_x + 0.25 * WIDTH * max(-1, min(1, (x - to_x) / 3)), to_level * LEVEL + HEIGHT / 2)
    axes.annotate("", end, begin, arrowprops={"arrowstyle": "-|>", "color": ARROW, "lw": 1.4, "shrinkA": 0}, zorder=1)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out = ROOT / "docs" / "architecture.png"
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help="docs/architecture.png")
    draw(parser.parse_args(argv).out)


if __name__ == "__main__":
    exit_after(main)
