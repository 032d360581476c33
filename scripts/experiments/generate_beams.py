"""fairseq-generate with several beams, one after another in one process: its start takes longer than a small search.

    python scripts/experiments/generate_beams.py --beams 1 5 10 --results-path FOLDER -- DATA --path CHECKPOINT ...

The words after ` -- ` go to fairseq-generate as they are, with `--beam K --results-path FOLDER/beamK` for each beam K.
The file of each beam has the messages of its run too, with the seconds of its search.
"""

import argparse
import logging
import sys
from pathlib import Path


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--beams", type=int, nargs="+", required=True, metavar="K", help="beams, each 1 or more")
    parser.add_argument("--results-path", type=Path, required=True, metavar="DIR", help="folder to write")
    argv = sys.argv[1:] if argv is None else list(argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    arguments = parser.parse_args(argv[:cut])
    arguments.rest = argv[cut + 1 :]
    if min(arguments.beams) < 1:
        parser.error(f"--beams {min(arguments.beams)}: must be 1 or more")
    return arguments


def main(argv=None):
    arguments = parse_arguments(argv)
    from fairseq_cli.generate import cli_main

    for beam in arguments.beams:
        folder = arguments.results_path / f"beam{beam}"
        # fairseq logs to the file of its results if logging is not set up, which the import and each run do.
        logging.root.handlers.clear()
        sys.argv = ["fairseq-generate", *arguments.rest, "--beam", str(beam), "--results-path", str(folder)]
        cli_main()


if __name__ == "__main__":
    main()
