r"""What a word is called in fairseq's text: a symbol without white space that nothing else is called.

`10 000` becomes `10\x20;000`, `</s>` becomes `\x3c;/s>`, `@L_x` becomes `\x40;L_x`, a backslash becomes `\x5c;`; all
other words stay as they are. No two words share a symbol, and `unescape` finds the word again.
"""

import re

LEFT, RIGHT = "@L_", "@R_"

# The last kind pads fairseq's dictionaries.
RESERVED = re.compile(rf"(?:{LEFT}|{RIGHT}).*|<s>|</s>|<pad>|<unk>|madeupword[0-9]+", re.DOTALL)
UNSAFE = re.compile(r"[\s\\]")
DIGIT = re.compile(r"\d")


def escape(text):
    """The text without white space; what is escaped is `\\x`, the character's number in hexadecimal, `;`."""
    return UNSAFE.sub(lambda found: code(found[0]), text)


def unescape(symbol):
    return re.sub(r"\\x([0-9a-f]+);", lambda found: chr(int(found[1], 16)), symbol)


def code(character):
    return f"\\x{ord(character):x};"


def word_symbol(form, lowercase=False, digits=False):
    """The symbol of a word; `digits`: every decimal digit becomes `#`."""
    form = form.lower() if lowercase else form
    form = DIGIT.sub("#", form) if digits else form
    if RESERVED.fullmatch(form):
        return code(form[0]) + escape(form[1:])
    return escape(form)


def is_reduce(symbol):
    return symbol.startswith((LEFT, RIGHT))
