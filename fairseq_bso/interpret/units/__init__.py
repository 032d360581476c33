"""Units of states over a corpus: pure numpy and torch.

patterns, ranges      where units are on, and the other places where they are
block_counts          the units that are on there besides
ranking, statistics   which units tell a track
"""
