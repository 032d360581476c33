"""Imports fairseq without its messages, for the process that `forked.py` forks.

torch imports its compiler when the first optimizer is made, which takes 2 seconds of every training.
"""

import contextlib
import gc
import logging
import warnings

logging.disable(logging.CRITICAL)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import fairseq.trainer  # noqa: F401

    with contextlib.suppress(ImportError):  # torch 1.13 has none
        import torch._dynamo  # noqa: F401
logging.disable(logging.NOTSET)

# A collection in a fork then leaves out all of this. It would visit every object, which copies the pages of all.
gc.collect()
gc.freeze()
