"""Prepare Multi30k German-English for fairseq: fetch, lowercase, split into pieces, binarise.

    python user_dir_examples/translation/prepare.py --out m30k               # fetches about 1.3 MB
    python user_dir_examples/translation/prepare.py --out m30k --from DIR    # takes files that are already there
    python user_dir_examples/translation/prepare.py --out m30k --target-lang de    # English to German

OUT then holds:

    raw/        the fetched files, checked against their sha256
    text/       train, valid, test (2016) and test1 (2017) as lowercased plain text: the references for BLEU
    spm.model   one sentencepiece vocabulary for both languages, trained on the training text only
    pieces/     the same text split into pieces
    data-bin/   the input of `fairseq-train` and `fairseq-generate` (it appears last, and only when complete)
"""

import argparse
import gzip
import hashlib
import os
import runpy
import shutil
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Read by its path: an import of the package imports fairseq.
exit_after = runpy.run_path(str(ROOT / "bso_runtime" / "endings.py"))["exit_after"]

COMMIT = "a3d2e0d26b56f3846f66a952536ffed4e401d05a"
ADDRESS = "https://raw.githubusercontent.com/multi30k/dataset/" + COMMIT + "/data/task1/raw/"
SOURCE, TARGET = "de", "en"

# The name of each set in the recipe, and its name in Multi30k.
SETS = {"train": "train", "valid": "val", "test": "test_2016_flickr", "test1": "test_2017_flickr"}

SHA256 = {
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2017_flickr.de.gz": "a2c89666db00c495cd8513b9d708d5a3acc205d7de312ef2bf5fb7ebc1540aee",
    "test_2017_flickr.en.gz": "76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074",
}


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR", help="folder that holds the .gz files")
    parser.add_argument("--target-lang", choices=(TARGET, SOURCE), default=TARGET, help=f"translate to it ({TARGET})")
    parser.add_argument("--vocab", type=int, default=6000, metavar="N", help="pieces, both languages together (6000)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes of fairseq-preprocess (1)")
    return parser.parse_args(argv)


@contextmanager
def only_writer(out):
    """Keeps other processes from a folder: they would write the same temporary names in it.

    Raises SystemExit if another process writes it."""
    locks = runpy.run_path(str(ROOT / "fairseq_bso" / "locks.py"))
    try:
        with locks["alone"](out.with_name(out.name + ".lock")):
            yield
    except locks["InUse"]:
        raise SystemExit(
            f"--out {out}: another process writes it now; wait until it has ended, or name another folder"
        ) from None


def fetch(name, raw, source):
    """Puts the file `name` into `raw`, from the folder `source` or the public repository, and checks it."""
    path = raw / name
    if path.exists() and sha256(path) == SHA256[name]:
        return
    partial = raw / (name + ".partial")
    if source is not None:
        if not (source / name).is_file():
            raise SystemExit(f"--from {source}: it holds no {name}; needed are {', '.join(SHA256)}")
        shutil.copyfile(source / name, partial)
    else:
        print(f"fetching {name}", flush=True)
        download(ADDRESS + name, partial)
    found = sha256(partial)
    if found != SHA256[name]:
        partial.unlink()
        origin = source / name if source is not None else ADDRESS + name
        raise SystemExit(
            f"{origin}: sha256 is {found}, expected {SHA256[name]}; this is not Multi30k at commit {COMMIT[:10]}, "
            "fetch it again"
        )
    os.replace(partial, path)


def download(address, path):
    try:
        with urllib.request.urlopen(address, timeout=60) as answer, open(path, "wb") as out:
            shutil.copyfileobj(answer, out)
    except OSError as problem:
        raise SystemExit(
            f"{address}: {problem}; fetch the eight .gz files another way and name their folder in --from"
        ) from None


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_sentences(path):
    """The lines of a .gz file, lowercased, with each run of white space replaced by one blank.

    Lines end at a line feed only: `str.splitlines` would also split at rarer characters and lose the alignment.
    """
    text = gzip.decompress(path.read_bytes()).decode("utf-8")
    return [" ".join(line.split()).lower() for line in text.rstrip("\n").split("\n")]


def write_lines(path, lines):
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes("".join(line + "\n" for line in lines).encode("utf-8"))
    os.replace(partial, path)


def write_text(raw, text):
    """Writes text/SET.LANGUAGE for each set, and checks that the two languages are aligned."""
    text.mkdir(exist_ok=True)
    for name, upstream in SETS.items():
        sides = {language: read_sentences(raw / f"{upstream}.{language}.gz") for language in (SOURCE, TARGET)}
        if len(sides[SOURCE]) != len(sides[TARGET]):
            raise SystemExit(f"{upstream}: {len(sides[SOURCE])} {SOURCE} lines but {len(sides[TARGET])} {TARGET} lines")
        for language, lines in sides.items():
            write_lines(text / f"{name}.{language}", lines)


def train_pieces(text, model, languages, vocab):
    """Trains one sentencepiece model on both sides of the training text."""
    import sentencepiece

    partial = model.with_name("partial")
    try:
        sentencepiece.SentencePieceTrainer.train(
            input=[str(text / f"train.{language}") for language in languages],
            model_prefix=str(partial),
            vocab_size=vocab,
            model_type="bpe",
            character_coverage=1.0,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as problem:
        raise SystemExit(
            f"--vocab {vocab}: sentencepiece refused it ({problem}); try a number from 500 to 12000"
        ) from None
    os.replace(f"{partial}.vocab", model.with_suffix(".vocab"))
    os.replace(f"{partial}.model", model)


def split_into_pieces(text, pieces, model, languages, sets):
    import sentencepiece

    pieces.mkdir(exist_ok=True)
    splitter = sentencepiece.SentencePieceProcessor(model_file=str(model))
    for name in sets:
        for language in languages:
            lines = (text / f"{name}.{language}").read_text(encoding="utf-8").split("\n")[:-1]
            write_lines(
                pieces / f"{name}.{language}", [" ".join(parts) for parts in splitter.encode(lines, out_type=str)]
            )


def binarise(pieces, data_bin, languages, sets, workers):
    """Runs the stock fairseq-preprocess into a temporary folder, then moves the result to its final place."""
    partial = data_bin.with_name(data_bin.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    beside = shutil.which("fairseq-preprocess", path=str(Path(sys.executable).parent))
    program = beside or "fairseq-preprocess"
    tests = ",".join(str(pieces / name) for name in sets if name.startswith("test"))
    command = [program, "--source-lang", languages[0], "--target-lang", languages[1], "--joined-dictionary"]
    command += ["--trainpref", pieces / "train", "--validpref", pieces / "valid"]
    command += ["--testpref", tests, "--destdir", partial, "--workers", workers]
    log = data_bin.with_name("preprocess.log")
    try:
        with open(log, "wb") as out:
            subprocess.run([str(word) for word in command], check=True, stdout=out, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise SystemExit("fairseq-preprocess is not installed; activate the environment that holds fairseq") from None
    except subprocess.CalledProcessError as problem:
        tail = "\n".join(log.read_text(errors="replace").split("\n")[-15:])
        raise SystemExit(f"fairseq-preprocess ended with {problem.returncode}:\n{tail}\nthe whole log: {log}") from None
    os.replace(partial, data_bin)


def ready_folder(out):
    """Refuses a folder that is prepared already, and an environment without sentencepiece, before any other step."""
    try:
        import sentencepiece  # noqa: F401
    except ImportError:
        raise SystemExit("sentencepiece is not installed: pip install sentencepiece") from None
    if (out / "data-bin").exists():
        raise SystemExit(f"--out {out}: {out / 'data-bin'} is there already; remove it or name another folder")
    (out / "raw").mkdir(parents=True, exist_ok=True)


def text_to_data(out, languages, sets, vocab, workers):
    """Makes OUT/data-bin from OUT/text."""
    train_pieces(out / "text", out / "spm.model", languages, vocab)
    split_into_pieces(out / "text", out / "pieces", out / "spm.model", languages, sets)
    binarise(out / "pieces", out / "data-bin", languages, sets, workers)
    print(f"wrote {out / 'data-bin'}")


def main(argv=None):
    arguments = parse_arguments(argv)
    with only_writer(arguments.out):
        prepare(arguments)


def prepare(arguments):
    """Makes OUT."""
    out = arguments.out
    ready_folder(out)
    for name in SHA256:
        fetch(name, out / "raw", arguments.source)
    write_text(out / "raw", out / "text")
    languages = (SOURCE, TARGET) if arguments.target_lang == TARGET else (TARGET, SOURCE)
    text_to_data(out, languages, SETS, arguments.vocab, arguments.workers)


if __name__ == "__main__":
    exit_after(main)
