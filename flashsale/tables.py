"""Tables that rooms exchange beside the raw streams, as Arrow schemas: one truth for writers, loader and dbt."""

from __future__ import annotations

import pyarrow as pa

UTC_MICROS = pa.timestamp("us", tz="UTC")
MONEY = pa.decimal128(12, 2)

#: One row per sale request, SKU and region asked for.
SALE_REQUESTS = pa.schema(
    [
        ("request_id", pa.string()),
        ("sku_id", pa.string()),
        ("region_id", pa.string()),
        ("starts_at", UTC_MICROS),
        ("duration_hours", pa.int32()),
        ("as_of", UTC_MICROS),
        ("unit_cost", MONEY),
        ("request_json", pa.string()),
    ]
)

#: One row per text scored by one model version.
SCORED_TEXTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_at", UTC_MICROS),
        ("stream", pa.string()),
        ("sku_id", pa.string()),
        ("language", pa.string()),
        ("text_hash", pa.string()),
        ("sentiment", pa.string()),
        ("p_negative", pa.float64()),
        ("p_neutral", pa.float64()),
        ("p_positive", pa.float64()),
        ("p_intent", pa.float64()),
        ("spans", pa.string()),
        ("likes", pa.int64()),
        ("reposts", pa.int64()),
        ("model_version", pa.string()),
    ]
)

#: Data set of title vectors: a partition a text-model version, one row per title. `vector` holds 16-bit floats of unit
#: length, little-endian.
TITLES = "text/titles"
TITLE_VECTORS = pa.schema([("title", pa.string()), ("vector", pa.binary())])

#: What cleaning says of each text's author and of its repeats: columns of the lake's `text/clean`.
TEXT_FLAGS = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_at", UTC_MICROS),
        ("stream", pa.string()),
        ("is_bot_like", pa.bool_()),
    ]
)

#: One row per scored text that was chosen to be explained by the model version that scored it. `words` is JSON,
#: `[{"start", "end", "text", "sentiment", "intent"}]`: character offsets in the clean text, and what each word added to
#: the sentiment's and the intent's logit; `gap_*` is what these sums miss of the change from an empty text.
EXPLAINED_TEXTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_at", UTC_MICROS),
        ("stream", pa.string()),
        ("sku_id", pa.string()),
        ("language", pa.string()),
        ("text_hash", pa.string()),
        ("sentiment", pa.string()),
        ("p_sentiment", pa.float64()),
        ("p_intent", pa.float64()),
        ("words", pa.string()),
        ("gap_sentiment", pa.float64()),
        ("gap_intent", pa.float64()),
        ("model_version", pa.string()),
    ]
)

#: One row per term that was said unusually often on a day, among texts on SKUs of one category.
TRENDS = pa.schema(
    [
        ("trend_date", pa.date32()),
        ("category", pa.string()),  # `uncategorised` for texts without a SKU, or with one the catalogue lacks
        ("term", pa.string()),  # a word, or two neighbours
        ("texts", pa.int64()),  # different texts that say it; repeats and posts of bot-like authors do not count
        ("category_texts", pa.int64()),  # different texts of the category that day
        ("expected", pa.float64()),  # texts expected, from the 28 days before and the weekday
        ("ratio", pa.float64()),  # texts over expected
        ("score", pa.float64()),  # log2((texts + 1) / (expected + 1)): a ratio that few texts do not blow up
        ("p_value", pa.float64()),  # chance of so many or more if nothing had changed
        ("q_value", pa.float64()),  # share of false alarms among the day's terms with this p-value or less
        ("example_hash", pa.string()),  # `text_hash` of one of the texts
        ("topic", pa.string()),  # the term by which terms go that the same texts say
        ("topic_texts", pa.int64()),  # different texts that say a term of the topic
    ]
)


def sql_type(kind: pa.DataType) -> str:
    """The type's name in DuckDB and PostgreSQL."""
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamptz"
    names = {
        pa.string(): "text",
        pa.int32(): "integer",
        pa.int64(): "bigint",
        pa.float64(): "float8",
        pa.bool_(): "boolean",
        pa.date32(): "date",
    }
    return names[kind]
