"""Campaign `workers`: 2 and 4 gloo workers train as one worker with `--update-freq` 2 and 4."""

from . import outputs
from .material import BSO, preprocess, train, workers
from .number_words import write_corpus

TOLERANCE = 1e-5
START = ("--max-update", 4, "--batch-size", 4, "--lr", 0.003)
CONSTRAINED = ("--task", "bso_translation", "--successors", "word_order")
CHECKED = {
    "bso-softmax": f"BSO, `--scorer softmax`: parameters within {TOLERANCE:g} of one worker's, 2 and 4 workers",
    "bso-summed": "the same, `--scorer summed`",
    "bso-unnormalized": "the same, `--scorer unnormalized`",
    "constraint": "BSO under `--successors word_order`, where a worker's share of a batch may be left out",
    "word-distillation": "`--task word_distillation`",
    "sequence-distillation": "`--task sequence_distillation`, whose cache the workers make together",
    "pruning": "pruning in training, with the same zeros",
}
QUICK = {"constraint": 1}


def case(kind, chance, material, folder):
    """One case. Returns (failure or None, what was done)."""
    count, seed = chance.choice((2, 2, 4)), chance.randrange(1000)
    data = material.data() if kind != "constraint" else _disallowed(chance, folder)
    options = [*_options(kind, material, folder, chance), *START, "--seed", seed]
    alone = train(data, folder / "one", *options, "--update-freq", count)
    together = workers(data, folder / "many", count, *options)
    about = f"{count} workers, seed {seed}"
    for done in (alone, *together):
        if done.status != 0:
            return f"exit status {done.status}: {done.errors[-1500:]}", about
    states = [outputs.load(folder / name / "checkpoint_last.pt") for name in ("one", "many")]
    updates = [state["optimizer_history"][-1]["num_updates"] for state in states]
    if min(updates) < 2 or updates[0] != updates[1]:
        return f"{updates} updates", about
    one, many = (state["model"] for state in states)
    worst = max(outputs.distance(one[name], many[name]) for name in one)
    if kind == "pruning" and any(not ((one[name] == 0) == (many[name] == 0)).all() for name in one):
        return "other zeros", about
    return (f"parameters differ by {worst:.1e}" if worst > TOLERANCE else None), f"{about}, difference {worst:.1e}"


def _options(kind, material, folder, chance):
    beam = ("--train-beam", chance.choice((2, 3, 5)))
    start = ("--finetune-from-model", material.checkpoint())
    teacher = ("--teacher-path", material.checkpoint())
    if kind.startswith("bso"):
        return [*BSO, *beam, "--scorer", kind[4:], *start]
    if kind == "constraint":
        return [*BSO, *beam, *CONSTRAINED]
    if kind == "pruning":
        amount = ("--prune-amount", chance.choice((0.3, 0.8)), "--prune-schedule", "iterative", "--prune-end", 3)
        return ["--task", "bso_translation", "--criterion", "cross_entropy", *amount, "--prune-every", 1]
    if kind == "word-distillation":
        return ["--task", "word_distillation", "--criterion", "word_distillation", *teacher]
    cache = ("--distill-cache", folder / "cache", "--distill-beam", 3, "--distill-max-tokens", 20)
    return ["--task", "sequence_distillation", "--criterion", "cross_entropy", *teacher, *cache]


def _disallowed(chance, folder):
    """Data in which the constraint forbids many targets, so that whole batches of one worker are left out."""
    write_corpus(folder, "train", 40, chance.randrange(1000))
    path = folder / "train.tgt"
    lines = path.read_text().splitlines()
    for number in range(len(lines)):
        if chance.random() < 0.6:
            lines[number] += " zero"
    path.write_text("\n".join(lines) + "\n")
    preprocess(folder / "data", dict.fromkeys(("train", "valid"), folder / "train"))
    return folder / "data"
