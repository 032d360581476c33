"""Imports fairseq without its messages, for the process that `forked.py` forks."""

import logging
import warnings

logging.disable(logging.CRITICAL)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import fairseq.trainer  # noqa: F401
logging.disable(logging.NOTSET)
