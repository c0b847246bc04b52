"""What cleaning does character by character, compiled: each kernel reads the bytes of a batch once, in linear time.

Batches come as Arrow lays them out: `offsets` (rows + 1) into `data` (UTF-8 bytes). No kernel holds the interpreter's
lock, so threads clean batches side by side.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_jit = njit(cache=True, nogil=True, boundscheck=False)

#: Flags of a row after `normalise`.
INVALID, NUL, HARD_ROW, ESCAPED, LONG = 1, 2, 4, 8, 16
#: No more than this many of one character in a row.
MOST_REPEATS = 3
_MAX_ENTITY = 32
#: FNV-1a hash of `nbsp`.
_NBSP = np.uint64(0xDDED4BBA9C6DFD9A)
#: Bytes that one byte of a text can become: names of emoji, ligatures of whole phrases.
_MOST_GROWTH = 64


@_jit
def decode(data, i, end):
    """Code point at byte `i` and its length; length 0 where it is no valid UTF-8 (overlong, surrogate, cut off)."""
    a = data[i]
    if a < 0x80:
        return np.int32(a), 1
    if 0xC2 <= a < 0xE0 and i + 1 < end and data[i + 1] & 0xC0 == 0x80:
        return np.int32((a & 0x1F) << 6 | data[i + 1] & 0x3F), 2
    if 0xE0 <= a < 0xF0 and i + 2 < end and data[i + 1] & 0xC0 == 0x80 and data[i + 2] & 0xC0 == 0x80:
        code = np.int32((a & 0x0F) << 12 | np.int32(data[i + 1] & 0x3F) << 6 | data[i + 2] & 0x3F)
        if code >= 0x800 and not 0xD800 <= code < 0xE000:
            return code, 3
    if 0xF0 <= a < 0xF5 and i + 3 < end and data[i + 1] & data[i + 2] & data[i + 3] & 0xC0 == 0x80:
        code = np.int32((a & 7) << 18 | np.int32(data[i + 1] & 0x3F) << 12)
        code |= np.int32(data[i + 2] & 0x3F) << 6 | data[i + 3] & 0x3F
        if 0x10000 <= code < 0x110000 and (data[i + 1] | data[i + 2] | data[i + 3]) & 0x40 == 0:
            return code, 4
    return np.int32(0), 0


@_jit
def _put(out, at, code):
    """Write one code point as UTF-8; returns where the next one goes."""
    if code < 0x80:
        out[at] = code
        return at + 1
    if code < 0x800:
        out[at] = 0xC0 | code >> 6
        out[at + 1] = 0x80 | code & 0x3F
        return at + 2
    if code < 0x10000:
        out[at] = 0xE0 | code >> 12
        out[at + 1] = 0x80 | code >> 6 & 0x3F
        out[at + 2] = 0x80 | code & 0x3F
        return at + 3
    out[at] = 0xF0 | code >> 18
    out[at + 1] = 0x80 | code >> 12 & 0x3F
    out[at + 2] = 0x80 | code >> 6 & 0x3F
    out[at + 3] = 0x80 | code & 0x3F
    return at + 4


@_jit
def _digit(byte):
    """Value of a hexadecimal digit, or 99."""
    if 48 <= byte < 58:
        return byte - 48
    low = byte | 32
    return low - 87 if 97 <= low < 103 else 99


@_jit
def _number(data, i, end, windows):
    """A numeric entity whose `#` stands at `i`: its code point and where it ends (0 where it is none)."""
    base = 10
    i += 1
    if i < end and data[i] | 32 == 120:
        base = 16
        i += 1
    value, digits = 0, 0
    while i < end and digits < 8 and _digit(data[i]) < base:
        value = value * base + _digit(data[i])
        digits += 1
        i += 1
    if digits == 0 or i >= end or data[i] != 59:
        return 0, 0
    if 128 <= value < 160:
        value = windows[value - 128]
    if value == 0 or 0xD800 <= value < 0xE000 or value >= 0x110000:
        value = 0xFFFD
    return value, i + 1


@_jit
def entity(data, i, end, hashes, chars, windows):
    """The HTML entity whose `&` stands at `i`: two code points (the second 0 as a rule) and its end (0: it is none)."""
    i += 1
    if i < end and data[i] == 35:
        value, stop = _number(data, i, end, windows)
        return value, 0, stop
    name = np.uint64(0xCBF29CE484222325)
    began = i
    while i < end and i - began < _MAX_ENTITY and (48 <= data[i] < 58 or 97 <= data[i] | 32 < 123):
        name = (name ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
        i += 1
    if i == began:
        return 0, 0, 0
    # `&nbsp` is often written without its semicolon
    closed = i < end and data[i] == 59
    if not closed and not (i - began == 4 and name == _NBSP):
        return 0, 0, 0
    at = np.searchsorted(hashes, name)
    if at == len(hashes) or hashes[at] != name:
        return 0, 0, 0
    return chars[at, 0], chars[at, 1], i + 1 if closed else i


@_jit
def _put_all(out, at, chars, begin, size):
    """Write `size` code points of `chars` from `begin`; returns where the next one goes."""
    for k in range(begin, begin + size):
        at = _put(out, at, chars[k])
    return at


@_jit
def _space(out, at, began):
    """A space, unless the row begins here or has one; returns where the next character goes."""
    if at > began and out[at - 1] != 32:
        out[at] = 32
        return at + 1
    return at


@_jit
def _plain(data, i, end):
    """Whether at byte `i` stands visible ASCII other than `&`, or a Chinese character of U+4000 to U+9FFF."""
    a = data[i]
    if a < 0x80:
        return a > 32 and a != 38 and a != 127
    return 0xE4 <= a <= 0xE9 and i + 2 < end and data[i + 1] & 0xC0 == 0x80 and data[i + 2] & 0xC0 == 0x80


@_jit
def _row(data, i, end, out, began, kind, start, size, chars, flag_names, hashes, entities, windows, named, limit):
    """One text for `normalise`: where its new bytes end, and its flags. `out` has room for them."""
    at, count, flag = began, 0, 0
    space, last, run = False, np.int32(-1), 0
    code, second = np.int32(-1), np.int32(0)
    while second or i < end:
        if second:  # the other half of an entity
            code, second = second, np.int32(0)
        elif _plain(data, i, end):  # most of every text: what stays as it is, and cannot be part of anything
            a = data[i]
            code, width = np.int32(a), 1
            if a >= 0x80:
                code = np.int32(a & 0x0F) << 12 | np.int32(data[i + 1] & 0x3F) << 6 | np.int32(data[i + 2] & 0x3F)
                width = 3
            count += 1
            if count > limit:
                return began, flag | LONG
            if space:
                space, last = False, np.int32(-1)
                at = _space(out, at, began)
            run = run + 1 if code == last else 1
            last = code
            if run <= MOST_REPEATS or 48 <= code < 58:
                out[at] = a
                if width == 3:
                    out[at + 1] = data[i + 1]
                    out[at + 2] = data[i + 2]
                at += width
            i += width
            continue
        else:
            code, width = decode(data, i, end)
            if width == 0:
                return began, flag | INVALID
            if code == 0:
                flag |= NUL
            if code == 38:
                one, two, stop = entity(data, i, end, hashes, entities, windows)
                if stop:
                    code, second, i = np.int32(one), np.int32(two), stop
                    if code == 38:
                        flag |= ESCAPED  # what was escaped twice is read once more
                else:
                    i += 1
            else:
                i += width
        count += 1
        if count > limit:
            return began, flag | LONG
        what = kind[code]
        if what == 0 or what == 5:
            if what == 5:
                flag |= HARD_ROW
            if space:
                space, last = False, np.int32(-1)
                at = _space(out, at, began)
            elif named and run == 1 and 0x1F1E6 <= code < 0x1F200 and 0x1F1E6 <= last < 0x1F200:
                name = (last - 0x1F1E6) * 26 + code - 0x1F1E6
                if flag_names[name, 1]:  # two halves of a flag: the first, of four bytes, has been written
                    at = _space(out, at - 4, began)
                    at = _put_all(out, at, chars, flag_names[name, 0], flag_names[name, 1])
                    space, last = True, np.int32(-1)
                    continue
            run = run + 1 if code == last else 1
            last = code
            if run <= MOST_REPEATS or 48 <= code < 58:
                at = _put(out, at, code)
        elif what == 2:
            space = True
        elif what == 3:
            for k in range(start[code], start[code] + size[code]):
                one = chars[k]
                if one == 32:
                    space = True
                    continue
                if space:
                    space, last = False, np.int32(-1)
                    at = _space(out, at, began)
                run = run + 1 if one == last else 1
                last = one
                if run <= MOST_REPEATS or 48 <= one < 58:
                    at = _put(out, at, one)
        elif what == 4:
            run = run + 1 if code == last else 1
            last = code
            if run <= MOST_REPEATS and named:
                at = _put_all(out, _space(out, at, began), chars, start[code], size[code])
                space = True
            elif run <= MOST_REPEATS:
                if space:
                    space = False
                    at = _space(out, at, began)
                at = _put(out, at, code)
    return (began if flag & NUL else at), flag


@_jit
def normalise(offsets, data, kind, start, size, chars, flag_names, hashes, entities, windows, named, limit):
    """Entities, form NFKC, emoji, invisible characters, white space and repeats of every row, in one pass.

    Args:
        offsets, data: the texts.
        kind, start, size, chars, flag_names, hashes, entities, windows: `characters()`.
        named: whether emoji become their names.
        limit: code points a row may have; a longer one is given up there.

    Returns:
        offsets and bytes of the new texts, flags of every row. A row that is put aside has no bytes.
    """
    rows = len(offsets) - 1
    flags = np.zeros(rows, np.uint8)
    ends = np.zeros(rows + 1, np.int64)
    out = np.empty((offsets[rows] - offsets[0]) * 5 // 4 + 4096, np.uint8)
    at = 0
    for row in range(rows):
        i, end = offsets[row], offsets[row + 1]
        room = _MOST_GROWTH * min(end - i, np.int64(limit)) + 64
        if at + room > len(out):
            grown = np.empty(2 * len(out) + room, np.uint8)
            grown[:at] = out[:at]
            out = grown
        at, flags[row] = _row(
            data, i, end, out, at, kind, start, size, chars, flag_names, hashes, entities, windows, named, limit
        )
        ends[row + 1] = at
    return ends, out[:at], flags


@_jit
def any_marked(offsets, data, marked):
    """Whether each row holds a character that is marked, 1 in `marked` (0x110000 code points)."""
    rows = len(offsets) - 1
    found = np.zeros(rows, np.bool_)
    for row in range(rows):
        i, end = offsets[row], offsets[row + 1]
        while i < end and not found[row]:
            code, width = decode(data, i, end)
            found[row] = marked[code] != 0
            i += max(width, 1)
    return found


@_jit
def gates(offsets, data, step, found, first):
    """Which rules a row may match: the bits of the literals that occur in it, and the most digits of one span.

    A span is digits with at most three of the marks that stand inside numbers (space, `-`, `.`, `(`, `)`, `/`) between
    two of them. `step` (256 entries a state) is an Aho-Corasick automaton over lower-case bytes; its entries are 256
    times the next state. States from `first` on, so multiplied, have bits in `found`.
    """
    rows = len(offsets) - 1
    bits = np.zeros(rows, np.uint64)
    digits = np.zeros(rows, np.uint8)
    for row in range(rows):
        state, mask = np.uint32(0), np.uint64(0)
        most, now, gap = 0, 0, 0
        for i in range(offsets[row], offsets[row + 1]):
            byte = data[i]
            state = step[state + byte]  # unsigned, or the compiler would look for negative places
            if state >= first:
                mask |= found[state >> np.uint32(8)]
            if byte < 58 and byte >= 32:
                if byte >= 48:
                    now += 1
                    gap = 0
                elif now:
                    gap += 1
                    if gap > 3 or not (byte == 32 or byte == 40 or byte == 41 or byte >= 45):
                        most = max(most, now)
                        now = 0
            elif now:
                most = max(most, now)
                now = 0
        bits[row] = mask
        digits[row] = min(max(most, now), 255)
    return bits, digits
