"""Sentiment of posts while they stream by: cleaned and scored in the workers by the model that is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql.types import StringType, StructField, StructType

if TYPE_CHECKING:
    import pandas as pd


def scored_posts(folder: str) -> Callable[[DataFrame], DataFrame]:
    """A function that adds `sentiment` to posts; `folder` holds a model version that every worker can reach."""

    def add(posts: DataFrame) -> DataFrame:
        schema = StructType([*posts.schema.fields, StructField("sentiment", StringType())])

        def score(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
            import pyarrow as pa

            from spark_jobs.cleaning import clean_texts
            from spark_jobs.model import load_model

            for frame in frames:
                clean = clean_texts(pa.array(frame["text"], pa.string())).column("clean_text").to_pandas()
                clean.index = frame.index
                found = load_model(folder).predict(clean.to_frame("text"), params={"threads": 1})
                yield frame.assign(sentiment=found["sentiment"])

        return posts.mapInPandas(score, schema)

    return add
