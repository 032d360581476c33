"""Score the output of fairseq-generate with sacrebleu.

    python scripts/tools/score.py gen/generate-test.txt --reference text/test.en --lowercase
    python scripts/tools/score.py gen/generate-test.txt --reference ordering/test.ordered --tokenize none \\
        --source ordering/test.shuffled --dictionary ordering/dict.txt

The input is the output of fairseq-generate: `--results-path`, or its output redirected to a file with `2>&1`. Only the
latter holds the time of the search. The script puts the best hypothesis of each sentence back into the order of the
data set, and prints BLEU with its signature. Without `--reference` the references are the target lines of
fairseq-generate, in which an unknown word never matches.

`--source` and `--dictionary` are for word ordering. They replace the `<unk>` of a hypothesis, first to last, by the
words of its source that are not in the dictionary, first to last. The source is shuffled, so this is a random choice.
"""

import argparse
import json
import re
import runpy
from pathlib import Path

UNKNOWN = "<unk>"
ROOT = Path(__file__).resolve().parents[2]
# Read by their paths: an import of the package imports fairseq.
JOIN_BYTES = runpy.run_path(str(ROOT / "fairseq_bso" / "byte_pieces.py"))["join_bytes"]
exit_after = runpy.run_path(str(ROOT / "bso_runtime" / "endings.py"))["exit_after"]
RECORD = re.compile(r"([TH])-(\d+)\t(.*)", re.DOTALL)
TIME = re.compile(r"Translated [\d,]+ sentences \([\d,]+ tokens\) in ([\d.]+)s")


def read_lines(path):
    """The lines of a text file; lines end at a line feed only, so that files stay aligned."""
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise SystemExit(f"{path}: cannot be read as UTF-8 text ({problem})") from None
    return text.removesuffix("\n").split("\n")


def read_generated(lines):
    """Hypotheses and references of a fairseq-generate log, each a dict from sentence number to text.

    The first hypothesis of an n-best list counts: it is the best one.
    """
    hypotheses, references = {}, {}
    for line in lines:
        record = RECORD.fullmatch(line)
        if record is None:
            continue
        kind, number, rest = record.group(1), int(record.group(2)), record.group(3)
        if kind == "T":
            references[number] = rest
        else:
            hypotheses.setdefault(number, rest.split("\t", 1)[1])
    return hypotheses, references


def read_seconds(lines):
    """The seconds of search that fairseq-generate reports; None if it did not finish."""
    found = [TIME.search(line) for line in lines if "Translated" in line]
    return float(found[-1].group(1)) if found and found[-1] else None


def counted(number, noun):
    """A number with its noun: 1 sentence, 2 sentences."""
    return f"{number} {noun}{'s' * (number != 1)}"


def in_order(hypotheses, count):
    """The texts by sentence number; every number from 0 to `count - 1` must be there, and no other."""
    missing = [number for number in range(count) if number not in hypotheses]
    if missing or len(hypotheses) != count:
        first = f"the first without a hypothesis is number {missing[0]}" if missing else "there are more hypotheses"
        raise SystemExit(
            f"the log holds hypotheses of {counted(len(hypotheses), 'sentence')}, the references are {count} "
            f"({first}); was it cut off, or made from another set, or without --required-batch-size-multiple 1? "
            "(fairseq-generate leaves out the longest sentences of a set whose size 8 does not divide)"
        )
    return [hypotheses[number] for number in range(count)]


def join_pieces(text):
    """Undoes sentencepiece: the pieces are joined, bytes become characters, and the word mark becomes a blank."""
    return JOIN_BYTES(text).replace(" ", "").replace("\u2581", " ").strip()


def fill_unknown(text, source, vocabulary):
    """Replaces each `<unk>` of `text` by the next word of `source` that is not in `vocabulary`, while there is one."""
    spare = iter([word for word in source.split() if word not in vocabulary])
    return " ".join(next(spare, word) if word == UNKNOWN else word for word in text.split())


def bleu(hypotheses, references, tokenize="13a", lowercase=False):
    """Corpus BLEU and its sacrebleu signature."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    score = metric.corpus_score(hypotheses, [references])
    return {
        "bleu": round(score.score, 2),
        "precisions": [round(value, 1) for value in score.precisions],
        "brevity_penalty": round(score.bp, 3),
        "sentences": len(hypotheses),
        "signature": str(metric.get_signature()),
    }


def read_texts(generated, reference=None, source=None, dictionary=None, pieces=False):
    """The best hypotheses of one fairseq-generate log and their references, in the order of the data set."""
    hypotheses, targets = read_generated(read_lines(generated))
    if not hypotheses:
        raise SystemExit(f"{generated}: holds no hypothesis (lines that begin with H-); did fairseq-generate finish?")
    references = read_lines(reference) if reference else in_order(targets, len(targets))
    texts = in_order(hypotheses, len(references))
    if pieces:
        texts = [join_pieces(text) for text in texts]
        references = references if reference else [join_pieces(text) for text in references]
    if source:
        vocabulary = {line.rsplit(" ", 1)[0] for line in read_lines(dictionary)}
        sources = read_lines(source)
        if len(sources) != len(texts):
            raise SystemExit(f"{source}: {counted(len(sources), 'sentence')}, but there are {len(texts)} hypotheses")
        texts = [fill_unknown(text, words, vocabulary) for text, words in zip(texts, sources)]
    return texts, references


def score_file(generated, reference=None, source=None, dictionary=None, pieces=False, tokenize="13a", lowercase=False):
    """Scores one fairseq-generate log, given as paths; returns a dict (`bleu`, `signature`, `seconds` and more)."""
    texts, references = read_texts(generated, reference, source, dictionary, pieces)
    return {**bleu(texts, references, tokenize, lowercase), "seconds": read_seconds(read_lines(generated))}


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("generated", type=Path, metavar="FILE", help="what fairseq-generate wrote")
    parser.add_argument("--reference", type=Path, metavar="FILE", help="plain text, one sentence per line")
    parser.add_argument("--source", type=Path, metavar="FILE", help="word ordering: the shuffled sentences")
    parser.add_argument("--dictionary", type=Path, metavar="FILE", help="word ordering: dict.txt")
    parser.add_argument("--sentencepiece", action="store_true", help="glue pieces (without generate's --remove-bpe)")
    parser.add_argument("--lowercase", action="store_true", help="sacrebleu's -lc: compare in lower case")
    parser.add_argument(
        "--tokenize", default="13a", choices=("13a", "none", "intl", "char", "zh"), help="sacrebleu's tokeniser (13a)"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    arguments = parser.parse_args(argv)
    if (arguments.source is None) != (arguments.dictionary is None):
        parser.error("--source and --dictionary go together: give both or neither")
    return arguments


def main(argv=None):
    arguments = parse_arguments(argv)
    result = score_file(
        arguments.generated,
        arguments.reference,
        arguments.source,
        arguments.dictionary,
        arguments.sentencepiece,
        arguments.tokenize,
        arguments.lowercase,
    )
    if arguments.json:
        print(json.dumps(result))
    else:
        seconds = "" if result["seconds"] is None else f", search {result['seconds']:.1f} s"
        print(f"BLEU {result['bleu']:.2f} ({counted(result['sentences'], 'sentence')}{seconds})\n{result['signature']}")


if __name__ == "__main__":
    exit_after(main)
