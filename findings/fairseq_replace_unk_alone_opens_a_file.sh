#!/usr/bin/env bash
# fairseq-fixed 0.12.3.1: `fairseq-generate --replace-unk` without a value ends with FileNotFoundError.
#
# The help says "perform unknown replacement (optionally with alignment dictionary)". Before the options became
# dataclasses, the option without a value meant True, and words were copied. In fairseq/dataclass/configs.py it now means
# "@@ ", the mark of subwords, which belongs to `--remove-bpe`. `load_align_dict` in fairseq/utils.py takes any text that is
# not empty for the name of a dictionary, and opens that file. An open issue of fairseq names this among others (3533).
#
# Seen: `--replace-unk` ends with FileNotFoundError for '@@ '. With an empty value (`--replace-unk ''`) words are copied.
#
# Exits with 0 while this is so, and with 1 once it has changed: docs/training.md can then leave out the empty value.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q fairseq-fixed==0.12.3.1 torch==2.13.0 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys

from fairseq import options, utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

seen = []
for words in (["--replace-unk"], ["--replace-unk", ""], []):
    arguments = options.parse_args_and_arch(options.get_generation_parser(), ["data", "--path", "model.pt", *words])
    value = convert_namespace_to_omegaconf(arguments).generation.replace_unk
    try:
        outcome = repr(utils.load_align_dict(value))
    except FileNotFoundError as error:
        outcome = f"FileNotFoundError: {error.filename!r}"
    print(f"{' '.join(map(repr, words)) or 'nothing'}: value {value!r}, alignment dictionary: {outcome}")
    seen.append((value, outcome))
known = [("@@ ", "FileNotFoundError: '@@ '"), ("", "{}"), (None, "None")]
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
