"""Trained LSTMs whose states are read and changed.

loading              loads a checkpoint with the reader of its architecture
state_reader         what an architecture must offer
lstm_steps           the layers of an nn.LSTM, step by step
settable             which states have units that can be set
changes              a change of a run: units that are set to values, and inputs in place of embedded words
bso_lstm_reader      the reader of bso_lstm
fairseq_lstm_reader  the reader of fairseq's lstm and lstm_lm
"""
