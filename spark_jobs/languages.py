"""Which language a text is in: `zh`, `en` or `other`, by script first, by function words among Latin letters.

A model that names a hundred languages costs some 50 µs a text; a look-up of each word among the commonest ones costs
nothing beside the cleaning, and says as much as the platform asks.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from spark_jobs.characters import fnv1a
from spark_jobs.kernels import decode

_jit = njit(cache=True, nogil=True, boundscheck=False)

#: Classes of letters: none, Chinese, Latin without and with marks, any other script.
NONE, HAN, LATIN, MARKED, OTHER = range(5)

#: Function words; one that is common English as well (`die`, `no`, `me`, `son`) decides nothing and is left out.
FUNCTION_WORDS = {
    "en": """the and is are was were it its it's this that these those i i'm my you your he she we they have has had not
        don't doesn't didn't can't won't with for of to but very good great so as at be been from would will can could
        when what which there just too really only than then after before about because if all an by or out up""",
    "de": """der das und ist nicht ich sehr mit für ein eine einen einem auf den dem von zu aber auch sie wir gut schön
        schnell leider nur noch wie wenn mein meine bei nach wurde habe haben kein keine oder zum zur gerne immer
        mehr""",
    "fr": """le les des est une un et très je pour dans qui que avec sur ce cette bien mais c'est pas il elle nous vous
        mon ma du au j'ai bon bonne qualité produit tout fait comme sont être trop aussi""",
    "es": """el los las es una un y muy de la que en con por para pero bien lo se mi su del al como más está este esta
        bueno buena calidad producto todo ha ser muchas gracias llegó también""",
    "it": """il lo gli di che è per con una un molto non ma anche della del dei sono ho ottimo prodotto bene questo
        questa nel alla come più buono perfetto qualità""",
    "pt": """o os um uma é de que em com para não muito mas bom boa por da dos das eu ele produto qualidade chegou
        está mais meu minha foi também""",
    "nl": """het een en van niet ik zeer met voor maar ook zijn heel goed op dat deze dit te er wel geen naar mijn
        erg snel mooi""",
    "pl": """jest nie się na z w bardzo dobry dobra polecam ale jak za od po czy tylko wszystko produkt""",
    "tr": """ve bir bu çok için ile güzel değil ama da ne gibi daha iyi ürün tavsiye ederim""",
    "sv": """och är att det som en ett på inte jag med för av den mycket bra har till var""",
    "id": """yang dan di ini itu dengan untuk tidak sangat bagus saya ada dari ke barang sudah sesuai""",
    "vi": """và là của có không cho rất được này một tôi với hàng đẹp nhưng""",
}
NAMES = tuple(FUNCTION_WORDS)
#: Latin letters a text must have before its words may make it foreign.
LEAST_LETTERS = 6


#: FNV-1a hash of nothing, with which every word begins.
_NO_WORD = np.uint64(0xCBF29CE484222325)
#: Places for function words, most of them free.
_SLOTS = 2048


@_jit
def _sentence_end(code):
    return code == 33 or code == 63 or code == 0x3002 or code == 0x2026


@_jit
def _aside(data, i, end, close):
    """Where a mask or an emoji's name ends whose first letter stands at `i`; 0 where there is none."""
    if i >= end or not 97 <= data[i] | 32 < 123:
        return 0
    stop = min(end, i + 64)
    while i < stop and data[i] != close and data[i] > 32 and data[i] != 60:
        i += 1
    return i + 1 if i < stop and data[i] == close else 0


@_jit
def describe(offsets, data, script, lower, words, tongues, languages):
    """Letters by script, function words by language, characters and sentences of every row.

    What stands between `<` and `>` (a mask) or between colons (an emoji's name) is no word of the author's.

    Args:
        script: class of every code point below 0x10000 (NONE to OTHER).
        lower: the lower-case form of every code point below 0x250.
        words, tongues: `_words()`.
        languages: number of languages.

    Returns:
        letters (rows x 5), function words (rows x languages), sentences (rows).
    """
    rows = len(offsets) - 1
    letters = np.zeros((rows, 5), np.int32)
    heard = np.zeros((rows, languages), np.int32)
    sentences = np.zeros(rows, np.int32)
    for row in range(rows):
        i, end = offsets[row], offsets[row + 1]
        word = _NO_WORD
        length, content, count = 0, False, 0
        han, latin, marked, other = 0, 0, 0, 0
        while i < end:
            byte = data[i]
            if byte < 0x80:
                i += 1
                if 97 <= byte | 32 < 123:
                    latin += 1
                    word = (word ^ np.uint64(byte | 32)) * np.uint64(0x100000001B3)
                    length += 1
                    content = True
                    continue
                if byte == 39 and length:
                    word = (word ^ np.uint64(39)) * np.uint64(0x100000001B3)
                    continue
                if length:
                    _hear(word, words, tongues, heard, row)
                    word, length = _NO_WORD, 0
                if 48 <= byte < 58:
                    content = True
                elif byte == 60 or byte == 58:
                    stop = _aside(data, i, end, 62 if byte == 60 else 58)
                    if stop:
                        i = stop
                        content = True
                elif content and (_sentence_end(byte) or (byte == 46 and (i >= end or data[i] == 32))):
                    count += 1
                    content = False
                continue
            if 0xE4 <= byte <= 0xE9:  # U+4000 to U+9FFF
                if length:
                    _hear(word, words, tongues, heard, row)
                    word, length = _NO_WORD, 0
                han += 1
                content = True
                i += 3
                continue
            code, width = decode(data, i, end)
            i += max(width, 1)
            what = script[code] if code < 0x10000 else (1 if 0x20000 <= code < 0x32000 else 0)
            if what == 3:
                marked += 1
                word = (word ^ np.uint64(lower[code] if code < 0x250 else code)) * np.uint64(0x100000001B3)
                length += 1
                content = True
                continue
            if length:
                _hear(word, words, tongues, heard, row)
                word, length = _NO_WORD, 0
            if what:
                han += what == 1
                other += what == 4
                content = True
            elif content and _sentence_end(code):
                count += 1
                content = False
        if length:
            _hear(word, words, tongues, heard, row)
        letters[row, 1], letters[row, 2], letters[row, 3], letters[row, 4] = han, latin, marked, other
        sentences[row] = count + content
    return letters, heard, sentences


@_jit
def _hear(word, words, tongues, heard, row):
    """Count a word for the languages it belongs to."""
    slot = word & np.uint64(_SLOTS - 1)
    while words[slot] != 0:
        if words[slot] == word:
            for tongue in range(heard.shape[1]):
                heard[row, tongue] += tongues[slot] >> tongue & 1
            return
        slot = (slot + np.uint64(1)) & np.uint64(_SLOTS - 1)


@cache
def _words() -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A hash table of function words (0: a free slot), and the languages of each, a bit a language."""
    words, tongues = np.zeros(_SLOTS, np.uint64), np.zeros(_SLOTS, np.int64)
    for tongue, listed in enumerate(FUNCTION_WORDS.values()):
        for word in sorted(set(listed.split())):
            wanted = _hash(word)
            slot = wanted % _SLOTS
            while words[slot] not in (0, wanted):
                slot = (slot + 1) % _SLOTS
            words[slot] = wanted
            tongues[slot] |= 1 << tongue
    return words, tongues


def _hash(word: str) -> int:
    value = fnv1a(b"")
    for char in word:
        value = ((value ^ ord(char)) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


@cache
def _scripts() -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Class of every code point of the first plane, and lower-case forms of the Latin ones."""
    script = np.array([OTHER if chr(c).isalpha() else NONE for c in range(0x10000)], np.uint8)
    script[0x3400:0xA000] = script[0xF900:0xFB00] = HAN
    script[0x3005] = script[0x3007] = HAN
    for code in range(0x250):
        if chr(code).isalpha():
            script[code] = LATIN if code < 0x80 else MARKED
    script[0x1E00:0x1F00] = MARKED
    return script, np.array([ord(chr(c).lower()[0]) for c in range(0x250)], np.int32)


def languages(offsets: NDArray[np.int32], data: NDArray[np.uint8]) -> tuple[pa.Array, NDArray[np.int32]]:
    """Language and number of sentences of every text.

    A Chinese character weighs as four Latin letters (a word of either): a review that names an English model stays
    Chinese. Japanese and Korean show their own letters. Latin texts are English unless the function words of another
    language, or letters with marks where no English word is heard, say otherwise.
    """
    letters, heard, sentences = describe(offsets, data, *_scripts(), *_words(), len(NAMES))
    han, other = letters[:, HAN], letters[:, OTHER]
    latin = letters[:, LATIN] + letters[:, MARKED]
    foreign_script = (other > 1) & (3 * other > han) | (other > han)
    chinese = (han > 0) & (4 * han >= latin) & ~foreign_script
    english, foreign = heard[:, 0], heard[:, 1:].max(axis=1)
    marked = letters[:, MARKED]
    spoken = (foreign >= 2) & (foreign > english) | (foreign >= 1) & (marked > 0) & (foreign >= english)
    strange = (latin >= LEAST_LETTERS) & (spoken | (english == 0) & (8 * marked > latin))
    names = np.where(chinese, 0, np.where((latin > 0) & (latin >= other) & ~strange & ~foreign_script, 1, 2))
    return pa.array(["zh", "en", "other"]).take(pa.array(names)), sentences
