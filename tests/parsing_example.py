"""The modules of user_dir_examples/dependency_parsing, and CoNLL-U text for their tests."""

import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[1] / "user_dir_examples" / "dependency_parsing"
sys.path.insert(0, str(EXAMPLE))
import evaluate  # noqa: E402
import fairseq_commands  # noqa: E402
import parse  # noqa: E402
import prepare  # noqa: E402
import symbols  # noqa: E402
import to_conllu  # noqa: E402
import transitions  # noqa: E402
import treebank  # noqa: E402

sys.path.remove(str(EXAMPLE))
__all__ = ["evaluate", "fairseq_commands", "parse", "prepare", "symbols", "to_conllu", "transitions", "treebank"]

DEVELOPMENT = EXAMPLE / "data" / "en_ewt-ud-dev.conllu.xz"

# The sample has a multiword token, empty nodes, a form with a blank, odd comments, empty lines and no last line feed.
# MISC has values with equals signs, and two values of one name: conllu 6.0.0 loses both (findings).
SAMPLE = """# newdoc id = one
# text = Vámonos 10 000 al mar
0.1\tya\tya\tADV\t_\t_\t_\t_\t2:advmod\t_
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\tMood=Imp\t0\troot\t0:root\t_
2\tnos\tnosotros\tPRON\t_\tCase=Acc\t1\tobj\t1:obj\tX=\u2028y
2.1\tcon\tcon\tADP\t_\t_\t_\t_\t5:case\t_
2.2\tlas\tel\tDET\t_\t_\t_\t_\t5:det\t_
3\t10 000\t10 000\tNUM\t_\t_\t5\tnummod:gov\t5:nummod\t_
4-5\tal\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
4\ta\ta\tADP\t_\t_\t5\tcase\t5:case\t_
5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t1:obl\tGloss=sea=DEF=|Alt=x|Alt=y
# a comment at the end
6\t!\t!\tPUNCT\t_\t_\t1\tpunct\t1:punct\t_


# only a comment

1\tSí\tsí\tINTJ\t_\t_\t0\troot\t_\t_"""

CROSSED = [("a", 0, "root"), ("b", 4, "x"), ("c", 1, "y"), ("d", 1, "z")]
CHAIN = [("The", 2, "det"), ("cat", 3, "nsubj:pass"), ("10 000", 0, "root")]
SHORT = [("Cat", 0, "root")]


def conllu(*sentences):
    """CoNLL-U text of sentences given as lists of (form, head, relation) or (form, head, relation, tag)."""
    text = ""
    for words in sentences:
        for number, (form, head, relation, *tag) in enumerate(words, start=1):
            text += "\t".join([str(number), form, "_", *(tag or ["X"]), "_", "_", str(head), relation, "_", "_"]) + "\n"
        text += "\n"
    return text


def write(path, text):
    path.write_bytes(text.encode("utf-8"))
    return path
