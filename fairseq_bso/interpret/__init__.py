"""What the hidden states of a trained LSTM mean: states of a corpus written to files, and looked at in a browser.

Written, by `fairseq-bso states`:
capture               a checkpoint and sentences in, a capture folder out
loading               the checkpoint's model and task
sentences             what is read, in which order, and the model's own output
user_tracks           a user's labels or numbers for every word
own_output            the words that the model itself finds
readers               what is asked of an architecture
capture_bso_lstm      it, for bso_lstm
capture_fairseq_lstm  it, for lstm and lstm_lm
lstm_steps            an nn.LSTM step by step, for what it does not give away
records               the model on a batch: what the files hold of each sentence
writing               all sentences in their order, streamed into the files of both sides
files                 the HDF5 files, and the folder that is there whole or not at all
lstmvis               lstm.yml and the dictionaries, as LSTMVis (Strobelt et al. 2016) reads them

Looked at, by `fairseq-bso view`:
capture_folder        words, windows of states, tracks (track_reader) and attention of a capture, or of another project
project               what lstm.yml of any project of LSTMVis names
index                 all states as one byte each, by rows and by columns, for searching
queries               what the page asks (fields: read strictly; selections, rankings)
server, page          the web server, and what it serves

In a capture folder, row t of one side is the state after word t. Encoder rows are the source words and `</s>`. Decoder
rows are the words that are fed in: `</s>` first, then all words but the last, so that row t predicts the next one.
"""
