"""A simulated shop whose true demand is known.

Everything this package writes or serves is simulated, except the sentences of its texts, which are
drawn from the public labelled corpora in `flashsale.corpora`. It is the demo's source system and the
exam of every decision: the platform sees only the streams, an examiner may open `truth/`.
"""
