#!/usr/bin/env bash
# fairseq-fixed 0.12.3.1: the alignment dictionary of `fairseq-preprocess --alignfile` translates a source word by the
# target word of its last link in the text, not by the most frequent. `--replace-unk` then writes that word.
#
# `_align_files` in fairseq_cli/preprocess.py counts in `freq_map` how often a source word is aligned with a target
# word, and takes the `max` of these counts. Its keys are elements of tensors (`si[int(sai)]`), which torch hashes by
# identity. Every link then counts as a word of its own, once. The file gets a line for each link. `load_align_dict` in
# fairseq/utils.py keeps the last line of a word. The help of `--replace-unk` speaks of an "alignment dictionary".
#
# Seen: "maison" is aligned three times with "house" and at last once with "home". The file has a line for each of the
# eight links, in their order. An unknown word that is aligned with "maison" becomes "home". With the last sentence
# first it becomes "house".
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here needs a workaround: docs/training.md gives
# `--replace-unk ''`, without a dictionary, and fairseq_bso/shortlist/lexicon.py counts by numbers.
# tests/unit/test_shortlist.py holds that the most frequent translation of a word comes first. A dictionary of fairseq
# is put right by `sort FILE | uniq -c | sort -n | sed 's/^ *[0-9]* //'`, which moves frequent links to the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q fairseq-fixed==0.12.3.1 torch==2.13.0 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys

from fairseq import utils
from fairseq_cli import preprocess


def lines_of(name):
    with open(name) as file:
        return file.read().splitlines()


def write(name, lines):
    with open(name, "w") as file:
        file.writelines(f"{line}\n" for line in lines)


def observe(name, translations):
    """The lines of the alignment dictionary, and the word that replaces an unknown one aligned with "maison"."""
    write(f"{name}.fr", ["la maison"] * len(translations))
    write(f"{name}.en", [f"the {word}" for word in translations])
    write(f"{name}.al", ["0-0 1-1"] * len(translations))
    options = ["-s", "fr", "-t", "en", "--trainpref", name, "--destdir", f"{name}-data", "--alignfile", f"{name}.al"]
    sys.argv = ["fairseq-preprocess", *options]
    preprocess.cli_main()
    dictionary = f"{name}-data/alignment.fr-en.txt"
    replaced = utils.replace_unk("the <unk>", "la maison", [0, 1], utils.load_align_dict(dictionary), "<unk>")
    print(f"{', '.join(translations)}: the file has {', '.join(lines_of(dictionary))}; output {replaced!r}")
    return lines_of(dictionary), replaced


house = ["house"] * 3
seen = [observe("rare_last", [*house, "home"]), observe("rare_first", ["home", *house])]
often, rare = ["la the", "maison house"], ["la the", "maison home"]
known = [(often * 3 + rare, "the home"), (rare + often * 3, "the house")]
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
