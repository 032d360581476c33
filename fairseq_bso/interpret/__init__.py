"""What the hidden states of a trained LSTM mean: states of a corpus written to files, and looked at in a browser.

capture               a checkpoint and sentences in, a capture folder out
loading               the checkpoint's model and task
sentences             what is read, in which order, and the model's own output
tracks                a user's labels or numbers for every word
capture_bso_lstm      states of bso_lstm          } one class each, with the interface of readers.StateReader
capture_fairseq_lstm  states of lstm and lstm_lm  }
lstm_steps            an nn.LSTM step by step, for what it does not give away
files                 the HDF5 files, and the folder that is there whole or not at all
lstmvis               lstm.yml and the dictionaries, as LSTMVis (Strobelt et al. 2016) reads them

In a capture folder, row t of one side is the state after word t. Encoder rows are the source words and `</s>`. Decoder
rows are the words that are fed in: `</s>` first, then all words but the last, so that row t predicts the next one.
"""
