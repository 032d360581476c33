"""How a fairseq command ends when its user must change something."""


class BadInput(SystemExit):
    """Ends the process with one message and status 1.

    It is a SystemExit, so that the message stands alone instead of below a traceback, and so that fairseq's
    ``except Exception`` around the loading of checkpoints does not replace it by a vaguer one.
    """
