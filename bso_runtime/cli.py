"""The `fairseq-bso` command. `translate` runs here, without fairseq and torch; fairseq_bso runs everything else."""

import argparse
import sys
from typing import List, Optional, Sequence

from . import translate
from .endings import ended

without_fairseq = False  # whether `fairseq_bso` may be imported without registering anything with fairseq


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs `fairseq-bso` with `arguments`, or with those of the process.

    Returns the exit status. Ctrl-C ends a command without a traceback, and so does a reader that closes its output.
    """
    return ended(lambda: _run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(argv: List[str]) -> int:
    if argv[:1] == [translate.NAME]:
        parser = argparse.ArgumentParser(prog="fairseq-bso translate", description=translate.HELP)
        translate.add_arguments(parser)
        return translate.run(parser.parse_args(argv[1:]))
    global without_fairseq
    without_fairseq = True  # it registers once a subcommand needs that
    try:
        from fairseq_bso.cli import main as rest
    except ModuleNotFoundError as error:
        print(
            f"only `translate` runs without the package {error.name}: install fairseq_bso for the rest", file=sys.stderr
        )
        return 1
    return rest(argv)


if __name__ == "__main__":
    sys.exit(main())
