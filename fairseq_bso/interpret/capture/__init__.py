"""`fairseq-bso states`: from a model and a corpus to a capture folder.

command       the subcommand
options       what is captured, and how
capture       reads sentences and writes a capture folder
sentences     the sentences, their order, and the word of each row
corpus        where they come from: a data set, text, or the model's own output
track_files   a user's labels or numbers for every word
records       runs the model on a batch and returns one record for each sentence
output_words  the output words that each unit raises and lowers most
writer        writes the records of all sentences, in order, to the files of both sides
hdf5_files    the HDF5 files, and a folder that is complete or absent
"""
