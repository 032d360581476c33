"""Units over a corpus: pure numpy.

A unit is one column of a state: one dimension of a hidden state, a cell state, a gate or an attentional vector.

patterns, ranges      the units that are on throughout a range, and the other ranges where they are on
block_counts          how many other units are on there
ranking               the units that predict a track best, and the control for chance
criteria, statistics  how well each unit predicts a track
level_counts          histograms, and the runs of all thresholds
peaks                 the highest peaks of every unit
co_activation         moments, and the most correlated units
prediction            what one unit alone predicts
"""
