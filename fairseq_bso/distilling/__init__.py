"""What a teacher gives to a student, kept (Kim & Rush 2016).

Sequence-level distillation (sections 3.2 and 3.3): a training set of the teacher's own output.

cache    the folder that holds it: a manifest, parts while it is made, then an indexed dataset as fairseq-train reads
choice   which hypotheses of a sentence go into it
decode   the search over the whole training set, shared out among workers and taken up again where it stopped

Word-level distillation (section 3.1):

memory   the teacher's likeliest words along each sentence, computed once
"""

from .cache import Cache, checksum
from .choice import Chooser
from .decode import Decoder, decode_missing, length_batches
from .memory import MemoryFolder, TeacherMemory

__all__ = [
    "Cache",
    "Chooser",
    "Decoder",
    "MemoryFolder",
    "TeacherMemory",
    "checksum",
    "decode_missing",
    "length_batches",
]
