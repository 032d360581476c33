"""Does BSO gain over cross entropy continued for the same time? One task, several seeds, one command.

    python scripts/experiments/compare_training.py tatoeba   # word ordering, bundled text
    python scripts/experiments/compare_training.py parsing   # dependency parsing, bundled trees
    python scripts/experiments/compare_training.py multi30k [--data DIR]   # translation; DIR: of the .gz files
    python scripts/experiments/compare_training.py ptb --data DIR   # word ordering; DIR holds ptb.train.txt and so on
    python scripts/experiments/compare_training.py iwslt14 --data DIR   # DIR: output of fairseq's prepare-iwslt14.sh

`tatoeba-transformer`, `tatoeba-lstm` and `multi30k-transformer` are the same tasks with fairseq's own models.

Each of `--seeds N` seeds trains with cross entropy. From that checkpoint, cross entropy is continued and each kind of
BSO is trained, for about the same time. All models are decoded with several beams and scored. The results are in
OUT/results.txt and OUT/results.json. They are means and standard deviations over the seeds, the gain over continued
cross entropy, and the length of the outputs. The gain has the p-value of a paired bootstrap test for each seed and for
all seeds together (significance.py). OUT/gains.png draws the gains by beam. The settings are in comparison_recipes.py.

A second run does only the stages that are not done yet, and an interrupted training resumes from its last checkpoint.
`--only nll-more bso-con` leaves out the other trainings, `--seed 2` the other seeds, `--train-only` the decoding.
`--also "wide = bso-con --train-beam 16 --lr 3e-4"` adds a row for settings to try: `bso-con` with the options that
follow its name. `--model "--arch lightconv_iwslt_de_en ..."` takes another model, of any architecture. `--minutes 20`
gives each training but the start 20 minutes of processor time: its first updates are timed, and the others follow. All
seeds of a folder have the updates that the first of them got.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

from command_line import add_machine_options, exit_after, make_parser, number_after, one_or_more
from comparison_plan import Comparison, own_updates
from comparison_recipes import RECIPES, START
from comparison_report import Report
from installation import threads_environment
from stages import Runner, ends_with_one_message


def added_training(text, recipe):
    """The training that `--also` describes. Raises ValueError."""
    name, equals, rest = (part.strip() for part in text.partition("="))
    base, *options = rest.split(maxsplit=1) or [""]
    if not equals or not name or not name.replace("-", "").isalnum() or name in recipe.named:
        raise ValueError(f"--also {text}: must be NAME = TRAINING OPTIONS, with a NAME that is not taken")
    if base not in recipe.named or base == START:
        allowed = ", ".join(training for training in recipe.named if training != START)
        raise ValueError(f"--also {text}: {base or 'nothing'} is no training; begin with one of {allowed}")
    training = recipe.named[base]
    added = split_arguments("--also", " ".join(options))
    if number_after(added, "--max-update") == 0 and any(item.partition("=")[0] == "--max-update" for item in added):
        raise ValueError(f"--also {text}: --max-update 0 would never end; give a number of updates")
    more = " ".join([training.options, *options])
    return replace(training, name=name, title=" ".join([training.title, *options]), options=more)


def split_arguments(option, text):
    """The arguments in a text, as a shell splits them. Raises ValueError."""
    try:
        return shlex.split(text)
    except ValueError as problem:
        raise ValueError(f"{option} {text}: {problem}") from None


def choose(recipe, only):
    """The recipe with some of its trainings; the start is always included. Raises ValueError."""
    for name in only:
        if name not in recipe.named:
            raise ValueError(f"--only {name}: is no training of this task; there are {', '.join(recipe.named)}")
    kept = tuple(training for training in recipe.trainings if training.name in (START, *only))
    return replace(recipe, trainings=kept)


def parse_arguments(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("task", choices=list(RECIPES), help="what to compare on")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (compare-TASK)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with your own copy of the data")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", type=one_or_more, default=3, metavar="N", help="seeds 1 to N (3)")
    seeds.add_argument("--seed", type=one_or_more, metavar="N", help="this seed alone")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these trainings, the start and --also")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=...", help="one more training, see above")
    parser.add_argument("--model", metavar="OPTIONS", help="options of fairseq-train in place of the recipe's model")
    parser.add_argument("--beams", type=one_or_more, nargs="+", metavar="K", help="beams of decoding")
    parser.add_argument(
        "--minutes", type=one_or_more, metavar="N", help="processor time of each training but the start"
    )
    parser.add_argument("--train-only", action="store_true", help="stop before decoding")
    parser.add_argument("--quick", action="store_true", help="in seconds: shows that all works, not how well")
    add_machine_options(parser)
    arguments = parser.parse_args(argv)
    try:
        recipe = RECIPES[arguments.task]
        also = []
        for text in arguments.also:
            also.append(added_training(text, recipe))
            recipe = replace(recipe, trainings=(*recipe.trainings, also[-1]))
        if arguments.only:
            recipe = choose(recipe, [*arguments.only, *(training.name for training in also)])
        check_data(recipe, arguments.task, arguments.data)
        recipe = recipe.quick() if arguments.quick else recipe
        recipe = replace(recipe, model=arguments.model or recipe.model)
        split_arguments("--model", recipe.model)
    except ValueError as problem:
        parser.error(str(problem))
    arguments.recipe = replace(recipe, beams=tuple(sorted(set(arguments.beams or recipe.beams))))
    arguments.out = (arguments.out or Path(f"compare-{arguments.task}")).resolve()
    arguments.data = arguments.data.resolve() if arguments.data else None
    arguments.seeds = [arguments.seed] if arguments.seed else list(range(1, arguments.seeds + 1))
    return arguments


def check_data(recipe, task, data):
    """Raises ValueError if --data is missing where a task needs it, or given where it has no meaning."""
    if data is None:
        if recipe.needs:
            raise ValueError(f"{task} needs --data DIR, a folder with {', '.join(recipe.needs)}")
        return
    if not recipe.needs and not recipe.own:
        raise ValueError(f"--data {data}: the data of {task} is bundled; leave --data out")
    missing = [name for name in recipe.needs if not list(data.glob(name))]
    if missing:
        raise ValueError(f"--data {data}: holds no {', '.join(missing)}; name the folder that does")


def plan(arguments, recipe):
    """The stages of a recipe with the seeds and folders of the command line."""
    return Comparison(recipe, arguments.out, arguments.seeds, arguments.data, arguments.cpu)


def main(argv=None):
    arguments = parse_arguments(argv)
    with ends_with_one_message():
        runner = Runner(arguments.out, threads_environment(arguments.threads))
        comparison = plan(arguments, arguments.recipe)
        if arguments.minutes:
            own = sum(own_updates(training) > 0 for training in comparison.recipe.trainings)
            runner.total = len(comparison.prepared) + len(comparison.recipe.trainings) - own
            comparison = plan(arguments, comparison.within(arguments.minutes, runner))
        runner.begun, runner.total = 0, len(comparison.prepared) + len(comparison.trained)
        runner.total += 0 if arguments.train_only else len(comparison.decoded)
        seconds = comparison.run(runner, arguments.train_only)
    if arguments.train_only:
        return
    report = Report(comparison.recipe, arguments.seeds, comparison.rows, comparison.statistics(), seconds)
    written = [os.path.relpath(path) for path in report.write(arguments.out)]
    print(f"\n{report.text()}\n\nWrote {', '.join(written)}")


if __name__ == "__main__":
    exit_after(main)
