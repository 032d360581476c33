"""Words a second of `fairseq-bso translate`, beside an earlier build, with a shortlist, and with ONNX Runtime.

    git worktree add DIR COMMIT
    python scripts/benchmarks/benchmark_runtime.py --beside DIR [--vocabulary 4000] [--rounds 5]
    python scripts/benchmarks/benchmark_runtime.py --beside DIR --model model.bso --input text [--max-len-b 200]

Without --model the weights are random, and every output is as long as its source. They are also measured as ONNX files
in float32 and int8. With --model, --onnx names files in ONNX to measure beside it; all files must hold a shortlist.
Each build translates in a process of its own, on one thread. In every round all builds translate the same lines in
turn. A number is a median over rounds: source words by seconds of processor time, without the start. A ratio is the
median of the ratios within rounds.
"""

import argparse
import importlib
import json
import runpy
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from json_worker import Worker

ROOT = Path(__file__).resolve().parents[2]
exit_after = runpy.run_path(str(ROOT / "bso_runtime" / "endings.py"))["exit_after"]
SETTINGS = [(beam, batch) for beam in (1, 5) for batch in (1, 32)]


def parse(arguments=None):
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, help="folder of an earlier build")
    parser.add_argument("--model", type=Path, help="file that `fairseq-bso export` wrote (default: random weights)")
    parser.add_argument("--input", type=Path, help="text for --model")
    parser.add_argument(
        "--onnx", type=Path, nargs="*", default=[], help="for --model: the start of the names of a pair"
    )
    parser.add_argument("--max-len-b", type=int, default=200, help="for --model")
    parser.add_argument("--vocabulary", type=int, default=4000, help="words of both sides of the random model")
    parser.add_argument("--hidden", type=int, default=256, help="units of the random model")
    parser.add_argument("--words", type=int, default=300, help="words a sentence of its shortlist, about")
    parser.add_argument("--sentences", type=int, default=64, help="random sentences of 6 to 21 words")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the numbers, in JSON")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)  # the build, the model and the text
    return parser.parse_args(arguments)


def random_model(options):
    """A `bso_lstm` of one layer with random weights, and a random shortlist with more of the frequent words."""
    sys.path.insert(0, str(ROOT))
    from bso_runtime.config import ModelConfig
    from bso_runtime.model_file import Model
    from bso_runtime.shortlist import Shortlist

    generator, size, vocabulary = np.random.default_rng(options.seed), options.hidden, options.vocabulary
    shapes = {
        "encoder.embedding.weight": (vocabulary, size),
        "encoder.layers.0.weight_ih_l0": (4 * size, size),
        "encoder.layers.0.weight_hh_l0": (4 * size, size),
        "encoder.layers.0.bias_ih_l0": (4 * size,),
        "encoder.layers.0.bias_hh_l0": (4 * size,),
        "encoder.attention_keys.weight": (size, size),
        "encoder.attention_values.weight": (size, size),
        "decoder.embedding.weight": (vocabulary, size),
        "decoder.input_projection.weight": (4 * size, size),
        "decoder.input_projection.bias": (4 * size,),
        "decoder.first_layer": (4 * size, 2 * size),
        "decoder.attentional.weight": (size, size),
        "decoder.output_weight": (vocabulary, size),
        "decoder.output_bias": (vocabulary,),
    }
    tensors = {name: generator.uniform(-0.2, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    side = "\n".join(["<s>", "<pad>", "</s>", "<unk>", *(f"w{word}" for word in range(vocabulary - 4))]).encode()
    each = max(1, (options.words - 100) // 13)
    counts = np.full(vocabulary, each)
    shortlist = Shortlist(np.arange(4, 104), counts, frequent(generator, vocabulary, each * vocabulary) + 4)
    content = shortlist.to_bytes(side, side)
    config = ModelConfig(1, False, True, "general", False)
    return Model(config, tensors, {"source": side, "target": side, "shortlist": content})


def frequent(generator, vocabulary, count):
    """Words (count,) below `vocabulary` - 4, the n-th as often as 1 / (n + 9)."""
    chances = np.cumsum(1 / np.arange(10, vocabulary + 6))
    return np.searchsorted(chances, generator.random(count) * chances[-1])


def random_text(options):
    """Lines of words whose frequency falls as in natural text."""
    generator = np.random.default_rng(options.seed + 1)
    lengths = generator.integers(6, 22, options.sentences)
    return [" ".join(f"w{word}" for word in frequent(generator, options.vocabulary, length)) for length in lengths]


def worker(build, model, text):
    """A process with one build.

    `ask(batch, *options)` translates the text once, with options of `translate`. It returns seconds of processor time,
    and the lines."""
    return Worker(f"{build}, {model}", __file__, "--worker", build, model, text)


def work(build, model, text):
    """Answers the requests to a `worker`."""
    sys.path.insert(0, build)
    early = (Path(build) / "bso_runtime" / "command.py").exists()  # the name of `translate` in earlier builds
    command = importlib.import_module("bso_runtime.command" if early else "bso_runtime.translate")
    make = command._translator if early else command._translation
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    lines, made = Path(text).read_text(encoding="utf-8").splitlines(), {}
    for request in sys.stdin:
        batch, *options = json.loads(request)
        name = " ".join(options)
        if name not in made:
            translate = make(parser.parse_args([model, *options]))
            made[name] = translate if early else lambda lines, run=translate: run(lines, 1)
            made[name](lines[:batch])
        start, outputs = time.process_time(), []
        for first in range(0, len(lines), batch):
            outputs += [line for _, line in made[name](lines[first : first + batch])]
        print(json.dumps([time.process_time() - start, outputs]), flush=True)


def write_graphs(model, folder):
    """The model as ONNX files in float32 and int8. Returns the starts of their names."""
    from fairseq_bso.export.onnx_graphs import graphs

    starts = [Path(folder) / f"onnx-{dtype}" for dtype in ("float32", "int8")]
    for start, dtype in zip(starts, ("float32", "int8")):
        for name, content in graphs(model, dtype):
            start.with_name(f"{start.name}.{name}.onnx").write_bytes(content)
    return starts


def measure(options, model, text, limits, onnx):
    """{setting: {build: [words a second in each round]}}; `onnx` are the starts of names of ONNX files."""
    words = sum(len(line.split()) for line in Path(text).read_text(encoding="utf-8").splitlines())
    files = {"now": model, **{start.name: start.resolve() for start in onnx}}
    workers = {name: (worker(ROOT, path, text), []) for name, path in files.items()}
    workers.update({f"{name}, shortlist": (one, ["--shortlist"]) for name, (one, _) in tuple(workers.items())})
    if options.beside:
        workers = {"before": (worker(options.beside.resolve(), model, text), []), **workers}
    speeds = {f"beam {beam}, batch {batch}": {name: [] for name in workers} for beam, batch in SETTINGS}
    for _ in range(options.rounds):
        for (beam, batch), found in zip(SETTINGS, speeds.values()):
            outputs = {}
            for name, (one, more) in workers.items():
                seconds, outputs[name] = one.ask(batch, "--beam", str(beam), *limits, *more)
                found[name].append(words / seconds)
            assert outputs.get("before", outputs["now"]) == outputs["now"], "the builds translate differently"
    for one in {one for one, _ in workers.values()}:
        one.close()
    return speeds


def report(speeds):
    """Prints the table and returns its numbers."""
    table = {}
    for setting, found in speeds.items():
        row = {f"{name} words/s": round(statistics.median(values)) for name, values in found.items()}
        base = "before" if "before" in found else "now"
        for name in [name for name in found if name != base]:
            ratios = [one / other for one, other in zip(found[name], found[base])]
            row[f"{name} / {base}"] = [
                round(number, 2) for number in (statistics.median(ratios), min(ratios), max(ratios))
            ]
        table[setting] = row
        print(setting, row, flush=True)
    return table


def main():
    """Measures, prints and writes."""
    options = parse()
    if options.worker:
        work(*options.worker)
        return
    with tempfile.TemporaryDirectory() as folder:
        model, text, onnx = options.model, options.input, options.onnx
        limits = ["--max-len-b", str(options.max_len_b)]
        if model is None:
            made = random_model(options)
            from bso_runtime import model_file

            model, text = Path(folder) / "model", Path(folder) / "text"
            limits = ["--max-len-a", "1", "--max-len-b", "0"]
            model_file.write(model, made, "float16")
            onnx = write_graphs(made, folder)
            text.write_text("".join(line + "\n" for line in random_text(options)), encoding="utf-8")
        table = report(measure(options, model.resolve(), text.resolve(), limits, onnx))
    if options.out:
        options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    exit_after(main)
