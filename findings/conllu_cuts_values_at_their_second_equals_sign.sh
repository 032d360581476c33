#!/usr/bin/env bash
# conllu 6.0.0 loses parts of the column MISC. It cuts a value at the second equals sign, and keeps the last of two
# values of a name. Reading a treebank and writing it back changes the file without a message.
#
# The README presents `serialize` as the way to get "your CoNLL-U formated text back". `parse_dict_value` in
# conllu/parser.py splits an item at every equals sign and takes the first two parts. It then makes a dict, so the
# last item of a name wins. The format only says that MISC holds items with `|` between them. The Leipzig rules write
# glosses of clitics with an equals sign. Features and dependencies go through other characters and come back whole.
#
# Seen: `Gloss=go=1PL` comes back as `Gloss=go`, and the gloss of the word `=` as `Gloss=_`. An address ends before
# the value of its first parameter, and `Alt=x|Alt=y` is `Alt=y`. The validator of Universal Dependencies (udtools
# 0.2.9, level 2) passes the sentence before and after. udapi 0.5.2 gives it back byte for byte.
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here uses conllu: `Treebank` in
# user_dir_examples/dependency_parsing/treebank.py keeps the lines of a file. The sample of
# tests/unit/test_dependency_parsing.py has such values of MISC, which must come back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --only-binary :all: conllu==6.0.0 udtools==0.2.9 udapi==0.5.2
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import subprocess
import sys

import conllu
import udapi

WORDS = [
    ("vamos", "VERB", "Number=Plur", 0, "root", "Gloss=go=1PL|SpaceAfter=No"),
    ("=", "SYM", "_", 1, "dep", "Gloss=="),
    ("lá", "ADV", "_", 1, "advmod", "Ref=https://example.org/?q=1&r=2"),
    ("já", "ADV", "_", 1, "advmod", "Alt=x|Alt=y"),
]
text = "# sent_id = 1\n# text = vamos= lá já\n"
for number, (form, tag, features, head, relation, rest) in enumerate(WORDS, 1):
    text += "\t".join([str(number), form, form, tag, "_", features, str(head), relation, "_", rest]) + "\n"
text += "\n"


def valid(content):
    """Whether the validator of Universal Dependencies accepts it as well-formed."""
    command = ["venv/bin/udvalidate", "--level", "2", "--lang", "pt"]
    return subprocess.run(command, input=content.encode(), capture_output=True).returncode == 0


def column(content):
    return [line.split("\t")[9] for line in content.splitlines() if "\t" in line]


written = "".join(sentence.serialize() for sentence in conllu.parse(text))
with open("text.conllu", "w", encoding="utf-8", newline="") as file:
    file.write(text)
by_udapi = udapi.Document("text.conllu").to_conllu_string()
for before, after in zip(column(text), column(written)):
    print(f"{before} comes back as {after}")
print(f"valid: {valid(text)}, and {valid(written)} as conllu writes it; udapi gives back all: {by_udapi == text}")
known = ["Gloss=go|SpaceAfter=No", "Gloss=_", "Ref=https://example.org/?q", "Alt=y"]
others, same = [[line.split("\t")[:9] for line in content.splitlines()] for content in (text, written)]
same = others == same and column(written) == known and valid(text) and valid(written) and by_udapi == text
print("as described" if same else "the behaviour has changed")
sys.exit(not same)
PYTHON
