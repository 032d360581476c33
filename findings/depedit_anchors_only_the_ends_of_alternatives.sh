#!/usr/bin/env bash
# depedit 4.0.0.0: a condition with alternatives also matches words that only contain one of them. The example of the
# user guide for nouns of persons marks theories and shelves as animate.
#
# The user guide describes tokens "using regular expressions". Its section on variables lists words of persons as
# `{person}=/I|you|s?he|people|friend|child/`, for rules that depend on "the animacy of a head noun". A condition
# without alternatives has to fit the whole value. `DefinitionMatcher` in depedit/depedit.py writes `^` before the
# condition and `$` behind it ("Ensure regex is anchored"), without a group. `^` then belongs to the first
# alternative, `$` to the last, and nothing to the others. `re.search` finds these anywhere.
#
# Seen: the guide's condition takes "helmet", "theory", "shelf" and "youth" for persons, since "he", "she" and "you"
# stand in them. `func=/nsubj|obj/` also takes the indirect object (iobj). `lemma=/child/` alone does not take
# "grandchild". With parentheses around the alternatives all are right. There is no warning.
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here edits trees by rules, and so nothing
# needs a workaround. Whoever does writes `func=/(nsubj|obj)/`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q depedit==4.0.0.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

from depedit import DepEdit

OBJECTS = ["friend", "child", "helmet", "theory", "shelf", "youth", "table", "grandchild"]
PERSONS = "I|you|s?he|people|friend|child"


def edited(rows, rule):
    """The rows of (lemma, head, relation) after one rule, as lists of columns."""
    lines = [f"{n}\t{lemma}\t{lemma}\tX\tX\t_\t{head}\t{name}\t_\t_" for n, (lemma, head, name) in enumerate(rows, 1)]
    editor = DepEdit()
    editor.quiet = True
    editor.add_transformation(rule)
    return [line.split("\t") for line in editor.run_depedit("\n".join(lines) + "\n\n").strip().splitlines()]


def animate(condition):
    """The objects that the rule of the guide marks."""
    rule = f"lemma=/see/;lemma=/{condition}/&func=/obj/\t#1>#2\t#2:misc=AnimObj"
    return [word for word in OBJECTS if edited([("see", 0, "root"), (word, 1, "obj")], rule)[1][9] == "AnimObj"]


def renamed(condition):
    """The relations of a sentence that a rule for some of them takes."""
    names = ["nsubj", "iobj", "obj"]
    rows = edited([("give", 0, "root"), *((name, 1, name) for name in names)], f"func=/{condition}/\tnone\t#1:func=new")
    return [row[1] for row in rows if row[7] == "new"]


seen = {}
for condition in (PERSONS, f"({PERSONS})", "child"):
    seen[condition] = animate(condition)
for condition in ("nsubj|obj", "(nsubj|obj)", "obj"):
    seen[condition] = renamed(condition)
for condition, taken in seen.items():
    print(f"/{condition}/ takes {', '.join(taken)}")
known = {
    PERSONS: ["friend", "child", "helmet", "theory", "shelf", "youth", "grandchild"],
    f"({PERSONS})": ["friend", "child"],
    "child": ["child"],
    "nsubj|obj": ["nsubj", "iobj", "obj"],
    "(nsubj|obj)": ["nsubj", "obj"],
    "obj": ["obj"],
}
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
