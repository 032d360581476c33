"""What the hidden states of a trained LSTM mean (LSTMVis, Strobelt et al. 2016).

capture       `fairseq-bso states`: writes the states of a corpus to a capture folder
ablate        `fairseq-bso ablate`: how the loss rises without a unit
folder        the format of the capture folder, for writing and reading
view          `fairseq-bso view`: shows a capture folder in the browser
models        trained models whose states are read and changed
live          a model at work on one's own text
attribution   which words a predicted word comes from
units         which units are on in a range, and which predict a track; pure numpy

A capture has an encoder side, a decoder side or both. Row t of a side is the state after word t. Encoder rows are the
source words and `</s>`. Decoder rows are the input words: `</s>` first, then all words but the last. Row t of a decoder
therefore predicts the next word.

A unit is one column of any state. A cell is the cell state c of an LSTM, and nothing else.
"""

from typing import Any

__all__ = ["show"]


def show(capture: Any, *arguments: Any, **options: Any) -> Any:
    """One view of a capture for a notebook: `show("states", view="unit", unit="hidden1:3")`.

    The arguments are those of `fairseq_bso.interpret.view.notebook.show`. Needs the extra `interpret`.
    """
    from .view.notebook import show as show_view

    return show_view(capture, *arguments, **options)
