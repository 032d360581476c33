"""Random damage to the bytes of a file, from a seed. Nothing that crashes other software is kept as a file."""

import gzip
import hashlib
import io
import json
import re
import struct
import zipfile
import zlib

HUGE = ("99999999999", "-1", "1e309", "nan", "0", "1048576", "9" * 5000, "2.5", "", "true", "null", "[]")
TEXTS = (
    b"\xef\xbb\xbf",
    b"\0",
    b"\t",
    b"\r\n",
    b"\xff",
    b"\xed\xa0\x80",
    "\u2028".encode(),
    b"  ",
    b"<unk>",
    b"#",
    b"\x85",
)


def damaged(content, chance):
    """(damaged bytes, what was done)."""
    kinds = [flipped, cut, doubled, dropped, filled, inserted, other_number, other_integer, other_line, other_type]
    damage = chance.choice(kinds)
    done = damage.__name__
    content = damage(content, chance)
    if chance.random() < 0.2:
        again = chance.choice(kinds)
        content, done = again(content, chance), f"{done}, {again.__name__}"
    return content, done


def damage_file(path, chance):
    """Damages a file. Returns its name and what was done."""
    content, done = damaged(path.read_bytes(), chance)
    path.write_bytes(content)
    return f"{path.name}: {done}"


def _slice(content, chance):
    start = chance.randrange(len(content) + 1)
    return start, min(len(content), start + chance.choice((1, 4, 8, 64, 1000)))


def flipped(content, chance):
    """Some bits change, more often near the start, where headers are."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if changed:
            place = chance.randrange(min(len(changed), chance.choice((64, 512, len(changed)))))
            changed[place] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(content, chance):
    """The end is missing."""
    return content[: chance.randrange(len(content) + 1)]


def doubled(content, chance):
    """A piece is there twice."""
    start, stop = _slice(content, chance)
    return content[:stop] + content[start:stop] * chance.choice((1, 1, 20)) + content[stop:]


def dropped(content, chance):
    """A piece is missing."""
    start, stop = _slice(content, chance)
    return content[:start] + content[stop:]


def filled(content, chance):
    """A piece is all zeros or all ones, as after a crash of a file system."""
    start, stop = _slice(content, chance)
    return content[:start] + chance.choice((b"\0", b"\xff")) * (stop - start) + content[stop:]


def inserted(content, chance):
    """Odd characters are put in."""
    start = chance.choice((0, chance.randrange(len(content) + 1)))
    return content[:start] + chance.choice(TEXTS) + content[start:]


def other_number(content, chance):
    """A number in decimal digits becomes another one, mostly an impossible one."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content[:200_000]))
    if not found:
        return flipped(content, chance)
    one = chance.choice(found)
    return content[: one.start()] + chance.choice(HUGE).encode() + content[one.end() :]


def other_integer(content, chance):
    """Four or eight bytes become a large integer, as of a forged header."""
    value = chance.choice((struct.pack("<Q", 2**40), struct.pack("<I", 2**31 - 1), struct.pack("<q", -1)))
    start = chance.randrange(min(len(content), chance.choice((64, 4096))) + 1)
    return content[:start] + value + content[start + len(value) :]


def other_line(content, chance):
    """A line is missing, is there twice, loses its end, or changes its place."""
    lines = content.split(b"\n")
    first, second = chance.randrange(len(lines)), chance.randrange(len(lines))
    way = chance.randrange(5)
    if way == 0:
        del lines[first]
    elif way == 1:
        lines.insert(second, lines[first])
    elif way == 2:
        lines[first] = lines[first][: chance.randrange(len(lines[first]) + 1)]
    elif way == 3:
        lines[first], lines[second] = lines[second], lines[first]
    else:
        words = re.split(rb"([ \t])", lines[first])
        chance.shuffle(words)
        lines[first] = b"".join(words)
    return b"\n".join(lines)


def other_type(content, chance):
    """The file is of another type."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("data.pkl", b"\x80\x02}q\0.")
    kinds = (b"", b"\n", b"{}", b"[1, 2]", b"one two three\n", gzip.compress(content[:1000]), packed.getvalue())
    return chance.choice((*kinds, b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"\x89HDF\r\n\x1a\n" + b"\0" * 90, bytes(4096)))


def resealed_model(content, chance):
    """An exported file whose header or parts are damaged, with a checksum that fits."""
    (length,) = struct.unpack_from("<Q", content, 44)
    header, parts = content[52 : 52 + length], content[52 + length :]
    if chance.random() < 0.7:
        header, done = other_header(header, chance), "other header"
    else:
        parts, done = damaged(parts, chance)
    body = struct.pack("<Q", len(header)) + header + parts
    return content[:12] + hashlib.sha256(body).digest() + body, f"resealed, {done}"


def other_header(header, chance):
    """JSON with one value, key or part changed."""
    try:
        content = json.loads(header)
    except ValueError:
        return flipped(header, chance)
    places = list(_places(content))
    holder, key = chance.choice(places)
    way = chance.randrange(4)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    else:
        values = (None, -1, 0, 1, 2**20, 2**34, 2**63, 1.5, 1e308, "", "x", "float16", [], {}, True, [2**20, 2**20])
        holder[key] = chance.choice(values)
    return json.dumps(content).encode()


def _places(content):
    """(dict or list, key) of every value in it."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(items):
        yield content, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def bomb(content, chance):
    """An exported file whose first text part unpacks to much more than its header says."""
    (length,) = struct.unpack_from("<Q", content, 44)
    header = json.loads(content[52 : 52 + length])
    blob = zlib.compress(bytes(2**26), 9)
    header["parts"] = [{"name": "source", "kind": "text", "size": 2**26, "stored": len(blob)}] * chance.choice((1, 20))
    text = json.dumps(header).encode()
    body = struct.pack("<Q", len(text)) + text + blob * len(header["parts"])
    return content[:12] + hashlib.sha256(body).digest() + body, "parts that unpack to 64 MB each"
