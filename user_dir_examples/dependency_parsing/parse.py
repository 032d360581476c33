"""Parse a CoNLL-U file with a trained model: CoNLL-U in, CoNLL-U out.

    python user_dir_examples/dependency_parsing/parse.py --model parsing/bso/checkpoint_best.pt --data parsing \\
        input.conllu output.conllu

`--data` is the folder that prepare.py wrote. Words are normalised as they were there, and its vocabularies are used.
The sentences go through the stock fairseq-preprocess and fairseq-generate, with the constraint `arc_standard`,
so every output is a tree. HEAD and DEPREL of the input are ignored and may be `_`. The input and the output may be
plain, `.gz` or `.xz`. The words after ` -- ` go to fairseq-generate as they are: `... output.conllu -- --fp16`.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from fairseq_commands import SOURCE, TARGET, run_fairseq
from symbols import word_symbol
from to_conllu import convert
from treebank import counted, exit_after, read_treebank, write_text

PLUGIN = Path(__file__).resolve().parents[2] / "fairseq_bso"


def read_settings(data):
    """The word normalisation of prepare.py, from the folder that it wrote.

    Raises SystemExit if prepare.py did not write the folder."""
    path = data / "settings.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        return {name: bool(settings[name]) for name in ("lowercase", "digits")}
    except (OSError, ValueError, KeyError, TypeError):
        raise SystemExit(
            f"--data {data}: {path} is not there or not whole; give the folder that prepare.py wrote"
        ) from None


def binarise(treebank, data, folder):
    """Writes the sources of the sentences that have a word to folder/data-bin."""
    settings = read_settings(data)
    lines = (" ".join(word_symbol(form, **settings) for form in sentence.forms) for sentence in treebank.nonempty)
    write_text(folder / f"test.{SOURCE}", "".join(line + "\n" for line in lines))
    arguments = ["--source-lang", SOURCE, "--target-lang", TARGET, "--only-source", "--testpref", folder / "test"]
    arguments += ["--srcdict", data / "data-bin" / f"dict.{SOURCE}.txt", "--destdir", folder / "data-bin"]
    run_fairseq("preprocess", arguments, folder / "preprocess.log")
    name = f"dict.{TARGET}.txt"
    shutil.copyfile(data / "data-bin" / name, folder / "data-bin" / name)


def generate(arguments, folder):
    """Decodes folder/data-bin; returns the path of fairseq-generate's output."""
    options = ["--user-dir", arguments.user_dir, "--path", arguments.model, "--task", "bso_translation"]
    if not arguments.unconstrained:
        options += ["--successors", "arc_standard"]
    options += ["--cpu"] if arguments.cpu else []
    options += ["--source-lang", SOURCE, "--target-lang", TARGET]
    options += ["--beam", arguments.beam, "--batch-size", arguments.batch_size]
    options += ["--max-len-a", 2, "--max-len-b", 0, "--required-batch-size-multiple", 1]
    options += ["--results-path", folder / "out", *arguments.rest]
    run_fairseq("generate", [folder / "data-bin", *options], folder / "generate.log")
    return folder / "out" / "generate-test.txt"


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("input", type=Path, metavar="INPUT", help="CoNLL-U file to parse")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="CoNLL-U file to write")
    parser.add_argument(
        "--model", required=True, metavar="FILE", help="checkpoint; several, joined by `:`, are averaged"
    )
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="folder that prepare.py wrote")
    parser.add_argument("--beam", type=int, default=5, metavar="K", help="beam (5)")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="sentences decoded at once (64)")
    parser.add_argument("--cpu", action="store_true", help="do not use a GPU")
    parser.add_argument("--user-dir", type=Path, default=PLUGIN, metavar="DIR", help="the plugin (fairseq_bso)")
    parser.add_argument("--unconstrained", action="store_true", help="decode without a constraint; needs --repair")
    parser.add_argument("--repair", action="store_true", help="repair outputs that are no derivation, and count them")
    argv = sys.argv[1:] if argv is None else list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    arguments = parser.parse_args(argv[:cut])
    arguments.rest = argv[cut + 1 :]
    for name in ("beam", "batch_size"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(arguments, name)}: must be 1 or more")
    if arguments.unconstrained and not arguments.repair:
        parser.error("--unconstrained: such outputs may be malformed; give --repair too")
    return arguments


def main(argv=None):
    arguments = parse_arguments(argv)
    for path in arguments.model.split(":"):
        if not Path(path).is_file():
            raise SystemExit(f"--model {path}: is not a file; give a checkpoint that fairseq-train wrote")
    treebank = read_treebank(arguments.input)
    if not treebank.nonempty:
        raise SystemExit(f"{arguments.input}: holds no word; give a CoNLL-U file with sentences")
    with tempfile.TemporaryDirectory(prefix="parse-") as name:
        folder = Path(name)
        binarise(treebank, arguments.data, folder)
        convert(generate(arguments, folder), treebank, arguments.output, arguments.repair)
    sentences, words = len(treebank.nonempty), sum(map(len, treebank.nonempty))
    print(f"wrote {arguments.output}, {counted(sentences, 'sentence')}, {counted(words, 'word')}")


if __name__ == "__main__":
    exit_after(main)
