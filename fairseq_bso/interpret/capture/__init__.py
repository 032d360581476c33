"""`fairseq-bso states`: from a model and a corpus to a capture folder.

command              the subcommand
capture              a checkpoint and sentences in, a capture folder out
loading              the checkpoint's model and task
sentences            what is read, in which order, and the model's own output
track_files          a user's labels or numbers for every word
own_output           the words that the model itself finds
state_reader         what is asked of an architecture
bso_lstm_reader      it, for bso_lstm
fairseq_lstm_reader  it, for lstm and lstm_lm
lstm_steps           an nn.LSTM step by step, for what it does not give away
records              the model on a batch: what the files hold of each sentence
writer               all sentences in their order, streamed into the files of both sides
hdf5_files           the HDF5 files, and the folder that is there whole or not at all
"""
