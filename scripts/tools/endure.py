"""Shows in long campaigns that nothing is lost and nothing is silently wrong when things go wrong.

    python scripts/tools/endure.py --count 100                   all campaigns, 100 cases of each
    python scripts/tools/endure.py --only kills --count 1000     one of them
    python scripts/tools/endure.py --only kills/export --count 50
    python scripts/tools/endure.py --table                       the table of docs/reliability.md
    python scripts/tools/endure.py --quick                       a few cases of all

Each case is a line in OUT/CAMPAIGN.jsonl. The same command goes on where it was stopped; OUT/failed keeps the files of
failed cases. The exit status is 1 if a case failed.
"""

import argparse
import importlib
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in ("scripts/benchmarks", "scripts/experiments", "scripts/tools", "."):
    if str(ROOT / folder) not in sys.path:
        sys.path.insert(0, str(ROOT / folder))

from endurance.journal import Journal, table  # noqa: E402
from endurance.outputs import possible  # noqa: E402

from bso_runtime.endings import exit_after  # noqa: E402

CAMPAIGNS = {"kills": "kills", "bad-files": "bad_files", "room": "room", "workers": "workers", "load": "load"}


def module_of(campaign):
    """The module of a campaign: its CHECKED {kind: text}, QUICK {kind: count} and `case`."""
    return importlib.import_module(f"endurance.{CAMPAIGNS[campaign]}")


def plan(arguments):
    """Yields (campaign, module, number, kind) of every case that was asked for."""
    for campaign in CAMPAIGNS:
        module = module_of(campaign)
        kinds = [kind for kind in possible(module.CHECKED) if wanted(arguments.only, campaign, kind)]
        if arguments.quick:
            cases = enumerate(kind for kind, count in module.QUICK.items() if kind in kinds for _ in range(count))
        else:  # the number of a case says its kind, whichever kinds are asked for
            every = list(module.CHECKED)
            numbers = range(arguments.count * len(every) // len(kinds) if kinds else 0)
            cases = ((number, every[number % len(every)]) for number in numbers)
        yield from ((campaign, module, number, kind) for number, kind in cases if kind in kinds)


def wanted(only, campaign, kind):
    """Whether a kind is named by --only: by its campaign, or as CAMPAIGN/KIND."""
    return not only or campaign in only or f"{campaign}/{kind}" in only


def run_case(module, campaign, number, kind, arguments):
    """Runs one case. Returns its line for the journal."""
    from endurance.material import Material
    from endurance.programs import unexpected

    chance = random.Random(f"{arguments.seed}/{campaign}/{number}")
    folder = Path(tempfile.mkdtemp(prefix=f"{campaign}-{number}-"))
    material, size = Material(arguments.out / "material", arguments), 1
    try:
        failure, about, *sizes = module.case(kind, chance, material, folder)
        size = sizes[0] if sizes else 1
    except Exception as error:
        failure, about = unexpected(error), ""
    if failure:
        kept = arguments.out / "failed" / f"{campaign}-{arguments.seed}-{number}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept, symlinks=True)
    shutil.rmtree(folder, ignore_errors=True)
    return {"seed": arguments.seed, "number": number, "kind": kind, "size": size, "failure": failure, "about": about}


def processor_time():
    """Seconds of processor time of all programs that have ended."""
    from forked import server_process

    if server_process() is None:
        return 0.0
    fields = Path(f"/proc/{server_process()}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def parse(argv=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("endure-out"), metavar="DIR", help="endure-out")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="cases of each campaign (100)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the random cases (1)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="CAMPAIGN or CAMPAIGN/KIND")
    parser.add_argument("--quick", action="store_true", help="a few cases of every campaign")
    parser.add_argument("--table", action="store_true", help="print the table of what was run")
    parser.add_argument("--again", action="store_true", help="run failed cases once more, after a correction")
    parser.add_argument("--steps", type=int, default=20_000, metavar="N", help="words of the capture under load")
    parser.add_argument("--units", type=int, default=100, metavar="N", help="its units")
    parser.add_argument("--clients", type=int, default=200, metavar="N", help="clients under load")
    arguments = parser.parse_args(argv)
    names = {f"{campaign}/{kind}" for campaign in CAMPAIGNS for kind in module_of(campaign).CHECKED}
    for name in arguments.only:
        if name not in names | set(CAMPAIGNS):
            parser.error(f"--only {name}: choose from {', '.join([*CAMPAIGNS, *sorted(names)])}")
    arguments.out = arguments.out.resolve()
    return arguments


def main(argv=None):
    """Runs what is missing. Returns the exit status."""
    arguments = parse(argv)
    journals = {campaign: Journal(arguments.out, campaign) for campaign in CAMPAIGNS}
    if arguments.table:
        print(table(journals.values(), {campaign: module_of(campaign).CHECKED for campaign in CAMPAIGNS}))
        return 0
    logging.disable(logging.WARNING)  # of this process alone
    failed, began = 0, time.monotonic()
    for campaign, journal in journals.items() if arguments.again else ():
        journal.forget_failures(partial(wanted, arguments.only, campaign))
    finished = {campaign: journal.done(arguments.seed) for campaign, journal in journals.items()}
    for campaign, module, number, kind in plan(arguments):
        if number in finished[campaign]:
            continue
        case = run_case(module, campaign, number, kind, arguments)
        journals[campaign].add(**case)
        if case["failure"]:
            failed += 1
            print(f"{campaign}/{kind} {number}: {case['failure']} ({case['about']})", flush=True)
    done, seconds = sum(len(journal.cases) for journal in journals.values()), time.monotonic() - began
    spent = f"{seconds:.0f} s, {processor_time():.0f} s of processor time, {os.cpu_count()} cores"
    print(f"{done} cases done, {failed} failed now, {spent}")
    if not possible(["onnx"]):
        print("no case of ONNX was run: pip install onnx onnxruntime")
    return 1 if failed else 0


if __name__ == "__main__":
    exit_after(main)
