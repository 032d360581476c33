"""Models for ``--arch``.

bso_lstm             the LSTM encoder-decoder, and how it searches in training
encoder              its encoder
decoder              its decoder: along gold, and one step of the search
deferred_gradients   the recurrent weights' gradient in one product after the last step
"""
