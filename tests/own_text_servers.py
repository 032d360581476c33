"""Small models for one's own text in `fairseq-bso view --model`, and the server over a capture with its model."""

from view_applications import answers_over

from fairseq_bso.interpret.folder.reader import open_capture
from fairseq_bso.interpret.live.session import open_session
from fairseq_bso.interpret.view.own_answers import OwnAnswers
from fairseq_bso.interpret.view.server import make_app

MODELS = {
    "bso": ("bso_lstm", {"encoder_layers": 2, "decoder_layers": 2, "encoder_bidirectional": True}),
    "raw": ("bso_lstm", {"scorer": "summed", "max_target_positions": 12}),
    "lstm": ("lstm", {"encoder_bidirectional": True, "max_target_positions": 12}),
    "lm": ("lstm_lm", {"task": "language_modeling", "decoder_layers": 2}),
}
TEXT, TARGET = "word3 word1 word0 word0 word4", "word2 word2 word5"


def own_application(folder, name):
    """The server over the capture NAME of a folder, with the model NAME.pt, and the answers about one's own text."""
    opened = open_capture(folder / name)
    own = OwnAnswers(opened, open_session(str(folder / f"{name}.pt"), str(folder / "data"), opened, cpu=True))
    return make_app(answers_over(opened, own)), own
