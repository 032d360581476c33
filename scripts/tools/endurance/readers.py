"""Reads one kind of file as a command does, without the rest of the command, which takes seconds."""

import sys
from types import SimpleNamespace


def vectors():
    """Reads word vectors into the rows of a dictionary's embedding, as `--encoder-embed-path` does."""
    from fairseq.data import Dictionary
    from torch import nn

    from fairseq_bso.models.word_vectors import load_vectors

    path, dictionary = sys.argv[1], Dictionary.load(sys.argv[2])
    load_vectors(path, "--encoder-embed-path", nn.Embedding(len(dictionary), 16), dictionary)


def memory():
    """Reads a teacher memory, as `--teacher-memory-folder` does."""
    from fairseq_bso.distill.teacher_cache import TopKFolder

    folder, checkpoint = sys.argv[1:]
    teacher = SimpleNamespace(paths=[checkpoint], dtype="torch.float32")
    for _ in TopKFolder(folder, teacher, 5).sentences():
        pass


def treebank():
    """Reads a treebank and makes the sequences of its sentences, as `prepare.py` does."""
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "user_dir_examples" / "dependency_parsing"))
    import prepare

    arguments = SimpleNamespace(lowercase=True, digits=True, universal=False, max_len=None)
    prepare.select(Path(sys.argv[1]), arguments)
