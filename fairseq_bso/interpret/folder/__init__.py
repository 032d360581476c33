"""The format of a capture folder, and of any project of LSTMVis.

reader    words, windows of states, tracks and attention
tracks    labels and numbers of words
index     all states as one byte each, by rows and by columns, for searching
project   what lstm.yml of any project names
lstmvis   lstm.yml and the dictionaries, as LSTMVis reads them
"""
