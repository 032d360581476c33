"""Opens a capture as `fairseq-bso view` does, and asks random questions in place of serving it."""

import argparse
import json
import random
import sys
from urllib.parse import quote

ODD = (
    "",
    "-1",
    "0",
    "1",
    "9" * 30,
    "1e9",
    "nan",
    "٣",
    "\0",
    "<unk>",
    "../..",
    "hidden1",
    "a" * 5000,
    "1,2",
    ",",
    "=&?",
    "\ud800",
)
REQUIRED = ("side", "start", "from", "to", "threshold", "text", "number", "track", "units", "value")
FIELDS = {
    "info": (),
    "context": ("side", "start", "length", "states"),
    "select": ("side", "from", "to", "threshold", "direction", "left", "right", "states"),
    "match": (
        *("side", "from", "to", "threshold", "direction", "left", "right", "states"),
        *("minimum", "mode", "limit", "before", "after"),
    ),
    "search": ("side", "text", "start", "limit"),
    "sentence": ("number",),
    "statistics": ("side", "track", "limit", "states"),
    "own": ("side", "text", "target", "states"),
    "own_select": ("side", "text", "target", "from", "to", "threshold", "direction", "left", "right", "states"),
    "intervention": ("side", "text", "target", "units", "value", "from", "to"),
    "attribution": ("text", "target", "method"),
    "nothing": ("side",),
}
GOOD = {
    **{"side": ("encoder", "decoder"), "start": range(12), "sentence": range(12), "length": range(1, 20)},
    **{"states": ("hidden1", "cell1", "hidden1,cell1"), "from": range(2), "to": range(1, 3), "number": range(12)},
    **{"threshold": ("0.1", "0.3", "1"), "direction": ("above", "below"), "left": (0, 1), "right": (0, 1)},
    **{"units": ("hidden1:0", "hidden1:0,hidden1:7"), "value": ("mean", "1", "-0.5"), "target": ("one two",)},
    **{
        "method": ("gradient_input", "integrated"),
        "minimum": (1, 2),
        "mode": ("fast", "precise"),
        "limit": range(1, 50),
    },
    **{"before": range(9), "after": range(9), "text": ("one two", "two one nine", "</s> one"), "track": ("loss",)},
}


def main():
    """Opens the capture; asks `count` questions. Every answer is JSON, with status 200, or 4xx and one sentence."""
    import fairseq_bso.interpret.view.server as server
    from fairseq_bso.interpret.view import command

    folder, seed, count, *model = sys.argv[1:]

    def ask(answers, *others):
        _ask(server.make_app(answers).test_client(), random.Random(int(seed)), int(count))

    server.serve = ask
    return command.run(_arguments(folder, model))


def _arguments(folder, model):
    """The arguments of `fairseq-bso view`; `model` is empty, or a checkpoint and its data."""
    from fairseq_bso.interpret.view import command

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([folder, "--cpu", *(["--model", model[0], "--data", model[1]] if model else [])])


def _ask(client, chance, count):
    known = [f"/api/{name}?{_fields(name, chance, 0)}" for name in FIELDS if name != "nothing"]
    right = 0
    for number in range(count):
        name = chance.choice(list(FIELDS))
        odd = 0 if number % 2 else 0.3
        path = known[number] if number < len(known) else f"/api/{name}?{_fields(name, chance, odd)}"
        answer = client.get(path)
        problem = _problem(answer)
        right += answer.status_code == 200
        if problem:
            print(f"Traceback or bad answer: {problem} to {path[:300]}", file=sys.stderr)
            sys.exit(3)
    print(f"{right} of {count} requests had an answer")


def _fields(name, chance, odd):
    names = [one for one in FIELDS[name] if chance.random() < 0.7 or one in REQUIRED]
    if odd and chance.random() < odd:
        names.append(chance.choice(sorted(GOOD)))
    words = []
    for one in names:
        value = chance.choice(ODD) if chance.random() < odd else chance.choice(GOOD[one])
        words.append(f"{one}={quote(str(value), safe='', errors='surrogatepass')}")
    return "&".join(words)


def _problem(answer):
    """The fault of an answer, or None."""
    if not (answer.status_code == 200 or 400 <= answer.status_code < 500):
        return f"status {answer.status_code}, {answer.data[:200]!r}"
    try:
        content = json.loads(answer.data)
    except ValueError:
        return f"no JSON: {answer.data[:100]!r}"
    if answer.status_code != 200 and "\n" in str(content.get("error", "\n")):
        return f"no sentence: {content}"
    return None
