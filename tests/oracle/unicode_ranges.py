"""unicode_ranges.py -- writes host/text/unicode_ranges.h: where the Unicode tables behind the fast tokenizers of
`transformers` (several, of different ages) say something else about a code point than libutf8proc does.

    .venv/bin/python tests/oracle/unicode_ranges.py >host/text/unicode_ranges.h
"""
import ctypes
import ctypes.util

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

lib = ctypes.CDLL(ctypes.util.find_library("utf8proc"))


class Property(ctypes.Structure):
    _fields_ = [("category", ctypes.c_int16), ("combining_class", ctypes.c_int16)]


lib.utf8proc_get_property.restype = ctypes.POINTER(Property)
lib.utf8proc_category_string.restype = ctypes.c_char_p
lib.utf8proc_unicode_version.restype = ctypes.c_char_p
POINTS = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
category = {c: lib.utf8proc_category_string(c).decode() for c in POINTS}
combining = {c: lib.utf8proc_get_property(c).contents.combining_class for c in POINTS}


def matched(pattern):
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    out = set()
    for i in range(0, len(POINTS), 4096):
        for text, _ in split.pre_tokenize_str("".join(map(chr, POINTS[i:i + 4096]))):
            out.update(map(ord, text))
    return out


def bert(**on):
    options = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**options, **on}).normalize_str


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def table(name, about, points):
    rows = ["{0x%x, 0x%x}" % tuple(r) for r in ranges(points)]
    text = "static const text_range %s[] = { /* %s */" % (name, about)
    line = "   "
    for row in rows:
        if len(line) + len(row) + 2 > 118:
            text, line = text + "\n" + line, "   "
        line += " " + row + ","
    print(text + "\n" + line + "\n};\n")


nfd, lower = normalizers.NFD().normalize_str, normalizers.Lowercase().normalize_str
clean, strip = bert(clean_text=True), bert(strip_accents=True)
split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
SPACES = matched(r"\s")
assert SPACES == {c for c in POINTS if category[c][0] == "Z" or 9 <= c <= 13 or c == 0x85}
buffer = (ctypes.c_int32 * 32)()


def decompose(c): # STABLE | DECOMPOSE
    n = lib.utf8proc_decompose_char(c, buffer, 32, 2 | 16, None)
    return "".join(chr(buffer[i]) for i in range(n))


marks = {}
for c in POINTS:
    if combining[c] and c < 0x1000:
        marks.setdefault(combining[c], c)
unknown = [c for c in POINTS if combining[c] > 1 and len(nfd(chr(c))) == 1 and nfd("a" + chr(c) + "\u0334") != "a\u0334" + chr(c)]
for c in POINTS: # every other mark has the same class in both
    if combining[c] and c not in unknown and len(nfd(chr(c))) == 1:
        for k, m in marks.items():
            if len(nfd(chr(m))) == 1:
                first, second = (c, m) if combining[c] < k else (m, c)
                assert nfd("a" + chr(m) + chr(c)) == "a" + chr(first) + chr(second), hex(c)

print("""/* unicode_ranges.h -- where the Unicode tables behind the fast tokenizers of `transformers` differ from libutf8proc's: code
 * points assigned after one or the other was made. Written by tests/oracle/unicode_ranges.py (tokenizers %s, Unicode %s of
 * libutf8proc); with a newer libutf8proc the rows stay true. */
""" % (tokenizers.__version__, lib.utf8proc_unicode_version().decode()))
table("letters_too", r"\p{L} of the regular expressions", [c for c in matched(r"\p{L}") if category[c][0] != "L"])
table("numbers_too", r"\p{N} of the regular expressions", [c for c in matched(r"\p{N}") if category[c][0] != "N"])
table("controls_not", "kept by BERT's cleaning", [c for c in POINTS if category[c] in ("Cc", "Cf", "Co") and clean(chr(c)) and c not in SPACES])
single = [c for c in POINTS if len(nfd(chr(c))) == 1]
table("accents_too", "stripped by BERT", [c for c in single if category[c] != "Mn" and not strip(chr(c))])
table("accents_not", "not stripped by BERT", [c for c in single if category[c] == "Mn" and strip(chr(c))])
punct = {c for c in POINTS if len(split("a" + chr(c) + "b")) == 3}
ours = {c for c in POINTS if category[c][0] == "P" or (c < 128 and category[c][0] == "S")}
table("puncts_too", "punctuation to BERT", punct - ours)
table("puncts_not", "not punctuation to BERT", ours - punct)
table("whole", "not taken apart or put together", [c for c in POINTS if nfd(chr(c)) != decompose(c)]
      # Unicode 16's own, which a newer libutf8proc knows
      + [0x105C9, 0x105E4, 0x11383, 0x11385, 0x1138E, 0x11391, 0x113C5, 0x113C7, 0x113C8, *range(0x16121, 0x16129), 0x16D68, 0x16D69, 0x16D6A])
table("unordered", "marks of a combining class that the normaliser does not know: 0 to it", unknown)
rows = [] # runs with one distance
for c in POINTS:
    got = lower(chr(c))
    if got != chr(lib.utf8proc_tolower(c)) and c != 0x130: # that one becomes two code points
        assert len(got) == 1
        if rows and rows[-1][1] == c - 1 and rows[-1][2] == ord(got) - c:
            rows[-1][1] = c
        else:
            rows.append([c, c, ord(got) - c])
print("static const struct { uint32_t from, to; int32_t add; } lower_too[] = { /* capitals */")
for row in rows:
    print("    {0x%x, 0x%x, %d}," % tuple(row))
print("};")
