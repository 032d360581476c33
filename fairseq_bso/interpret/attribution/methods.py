"""The names of the methods, for readers without torch."""

__all__ = ["METHODS"]

METHODS = ("gradient_input", "integrated")
