"""Imports what the programs of the campaigns need, before they are forked."""

import logging
import warnings

logging.disable(logging.CRITICAL)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import fairseq_cli.generate  # noqa: F401
    import fairseq_cli.preprocess  # noqa: F401
    import fairseq_cli.train  # noqa: F401

    import bso_runtime.cli  # noqa: F401
    import bso_runtime.translate  # noqa: F401
    import fairseq_bso.cli  # noqa: F401
    import fairseq_bso.distill.command  # noqa: F401
    import fairseq_bso.export.command  # noqa: F401
    import fairseq_bso.interpret.capture.capture  # noqa: F401
    import fairseq_bso.interpret.view.server  # noqa: F401
    import fairseq_bso.prune.command  # noqa: F401
logging.disable(logging.NOTSET)
