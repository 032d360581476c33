"""fairseq-generate with several beams, one after another in one process: its start takes longer than a small search.

Its options are read once.

    python scripts/experiments/generate_beams.py --beams 1 5 10 --results-path FOLDER -- DATA --path CHECKPOINT ...

The words after ` -- ` go to fairseq-generate as they are, with `--beam K --results-path FOLDER/beamK` for each beam K.
The file of each beam has the messages of its run too, with the seconds of its search.
"""

import logging
import sys
from pathlib import Path

from command_line import exit_after, make_parser, parse_with_rest


def parse_arguments(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--beams", type=int, nargs="+", required=True, metavar="K", help="beams, each 1 or more")
    parser.add_argument("--results-path", type=Path, required=True, metavar="DIR", help="folder to write")
    arguments = parse_with_rest(parser, argv)
    if min(arguments.beams) < 1:
        parser.error(f"--beams {min(arguments.beams)}: must be 1 or more")
    return arguments


def main(argv=None):
    arguments = parse_arguments(argv)
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq_cli import generate

    sys.argv = ["fairseq-generate", *arguments.rest]  # also read for --user-dir
    config = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_generation_parser()))
    for beam in arguments.beams:
        config.generation.beam = beam
        config.common_eval.results_path = str(arguments.results_path / f"beam{beam}")
        # fairseq logs to the file of its results if logging is not set up, which the import and each run do.
        logging.root.handlers.clear()
        generate.main(config)


if __name__ == "__main__":
    exit_after(main)
