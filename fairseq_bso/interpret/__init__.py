"""What the hidden states of a trained LSTM mean (LSTMVis, Strobelt et al. 2016).

capture   ``fairseq-bso states``: the states of a corpus, written to a capture folder
folder    the format of that folder, which both sides share
view      ``fairseq-bso view``: a capture folder in the browser
units     which units are on where, and which tell a track; pure numpy and torch

In a capture folder, row t of one side is the state after word t. Encoder rows are the source words and `</s>`. Decoder
rows are the words that are fed in: `</s>` first, then all words but the last, so that row t predicts the next one.
"""
