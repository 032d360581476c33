r"""The symbols of words in fairseq's text: each is unique and has no white space.

`10 000` becomes `10\x20;000`, `</s>` becomes `\x3c;/s>`, `@L_x` becomes `\x40;L_x`, a backslash becomes `\x5c;`; all
other words stay as they are. No two words share a symbol, and `unescape` restores the word.
"""

import re

LEFT, RIGHT = "@L_", "@R_"

# Words of the last kind, madeupword, pad fairseq's dictionaries.
RESERVED = re.compile(rf"(?:{LEFT}|{RIGHT}).*|<s>|</s>|<pad>|<unk>|madeupword[0-9]+", re.DOTALL)
UNSAFE = re.compile(r"[\s\\]")
DIGIT = re.compile(r"\d")


def escape(text):
    """The text without white space; an escaped character is `\\x`, its code point in hexadecimal, and `;`."""
    return UNSAFE.sub(lambda found: code(found[0]), text)


def unescape(symbol):
    return re.sub(r"\\x(0*(?:10|[0-9a-f])?[0-9a-f]{1,4});", lambda found: chr(int(found[1], 16)), symbol)


def code(character):
    return f"\\x{ord(character):x};"


def word_symbol(form, lowercase=False, digits=False):
    """The symbol of a word. With `digits`, every decimal digit becomes `#`."""
    form = form.lower() if lowercase else form
    form = DIGIT.sub("#", form) if digits else form
    if RESERVED.fullmatch(form):
        return code(form[0]) + escape(form[1:])
    return escape(form)


def is_reduce(symbol):
    return symbol.startswith((LEFT, RIGHT))
