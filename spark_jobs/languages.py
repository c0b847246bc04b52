"""Which language a text is in: `zh`, `en` or `other`, by script first, by function words among Latin letters.

A model that names a hundred languages costs some 50 µs a text; a look-up of each word among the commonest ones costs
nothing beside the cleaning, and says as much as the platform asks.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.characters import fnv1a
from spark_jobs.kernels import describe

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
        mon ma du au j'ai bon bonne qualité produit plus tout fait comme sont être trop aussi""",
    "es": """el los las es una un y muy de la que en con por para pero bien lo se mi su del al como más está este esta
        bueno buena calidad producto todo ha he ser son muchas gracias llegó también""",
    "it": """il lo gli di che è per con una un molto non ma anche della del dei sono ho ottimo prodotto bene questo
        questa nel alla come più buono perfetto qualità""",
    "pt": """o os um uma é de que e em com para não muito mas bom boa por do da dos das eu ele produto qualidade chegou
        está como mais meu minha foi também""",
    "nl": """het een en van is niet ik zeer met voor maar ook zijn heel goed op dat deze dit te er wel geen naar mijn
        erg snel mooi""",
    "pl": """jest nie się na z i w to bardzo dobry dobra polecam ale jak za od po czy tylko wszystko produkt""",
    "tr": """ve bir bu çok için ile güzel değil ama da ne gibi daha iyi ürün tavsiye ederim""",
    "sv": """och är att det som en ett på inte jag med för av den mycket bra har till var""",
    "id": """yang dan di ini itu dengan untuk tidak sangat bagus saya ada dari ke barang sudah sesuai""",
    "vi": """và là của có không cho rất được này một tôi với hàng đẹp nhưng""",
}
NAMES = tuple(FUNCTION_WORDS)
#: Latin letters a text must have before its words may make it foreign.
LEAST_LETTERS = 6


@cache
def _words() -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Sorted hashes of function words and their languages; words are hashed by code point, as the kernel does."""
    pairs = sorted((_hash(word), i) for i, listed in enumerate(FUNCTION_WORDS.values()) for word in set(listed.split()))
    return np.array([p[0] for p in pairs], np.uint64), np.array([p[1] for p in pairs], np.int64)


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
