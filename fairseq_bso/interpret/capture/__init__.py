"""`fairseq-bso states`: from a model and a corpus to a capture folder.

command              the subcommand
options              what is captured, and how
capture              loads a checkpoint, reads sentences and writes a capture folder
sentences            the sentences, their order, and the model's own output
track_files          a user's labels or numbers for every word
state_reader         what an architecture must offer, and the steps of an nn.LSTM
bso_lstm_reader      the reader of bso_lstm
fairseq_lstm_reader  the reader of fairseq's lstm and lstm_lm
records              runs the model on a batch and returns one record for each sentence
writer               writes the records of all sentences, in order, to the files of both sides
hdf5_files           the HDF5 files, and a folder that is complete or absent
"""
