"""A model at work on single texts: one's own text beside a capture.

reading   a text in the words of the model, and which of them it does not know
session   its states, predictions and losses, under changes of units too, and attribution
"""
