"""Which words a predicted word comes from: gradients of its score with respect to the embedded words.

methods     their names
gradients   gradient x input, and integrated gradients
"""
