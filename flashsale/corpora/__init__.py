"""Public labelled sentences, read from packages that are installed or were downloaded.

`load_sentences` is the whole interface: one table of distinct sentences, each with its sentiment, its
language, a rough product domain and a split that never changes.
"""

from flashsale.corpora.sentences import LANGUAGES, SENTENCE_SCHEMA, load_sentences

__all__ = ["LANGUAGES", "SENTENCE_SCHEMA", "load_sentences"]
