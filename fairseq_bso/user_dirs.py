"""Imports the folder of `--user-dir` for a command of fairseq-bso."""

import argparse

from .errors import UserError

__all__ = ["import_user_dir"]


def import_user_dir(arguments: argparse.Namespace) -> None:
    """Imports the user's own plugins as fairseq does.

    Args:
        arguments: with `user_dir`, None for none.

    Raises:
        UserError: there is no such folder, or it cannot be imported.
    """
    from fairseq import utils

    try:
        utils.import_user_module(arguments)
    except FileNotFoundError:
        raise UserError(f"--user-dir {arguments.user_dir} does not exist: give a folder with plugins") from None
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--user-dir {arguments.user_dir} cannot be imported: {reason}") from None
