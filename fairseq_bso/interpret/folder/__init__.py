"""The format of a capture folder, and of any project of LSTMVis.

reader        reads words, windows of states, tracks and attention
states        the states of a side: the datasets that lstm.yml names
datasets      datasets of HDF5, checked for their kind of number
tracks        labels and numbers of words
index         all states as one byte each, by rows and by units, for searching
cards         what the card of each unit says: extremes, histogram, runs, correlated units, tracks
output_words  the output words that each unit raises and lowers most
fitting       whether a model is the one that a capture was made with
project       the files that the lstm.yml of any project names
lstmvis       writes lstm.yml and the dictionaries for LSTMVis
"""
