"""What goes over the wire, version 1."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_SCORE: dict[str, Any] = {
    "sentiment": "positive",
    "p_negative": 0.0312,
    "p_neutral": 0.0204,
    "p_positive": 0.9484,
    "p_intent": 0.7121,
    "spans": [{"start": 0, "end": 3, "text": "性价比"}],
}


class _Plain(BaseModel):
    model_config = ConfigDict(protected_namespaces=())  # `model_version` is the platform's word, not pydantic's


class ScoreRequest(BaseModel):
    """Texts to score, in any language the model knows."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"texts": ["性价比很高，想买"]}]})
    texts: list[str | None] = Field(min_length=1, description="Null and blank texts get null scores")


class Span(_Plain):
    """A piece of the text that names what is wanted or judged; offsets count characters, `end` is exclusive."""

    start: int
    end: int
    text: str


class Score(_Plain):
    """Scores of one text; all null, and no spans, where the text is null or blank."""

    sentiment: Literal["negative", "neutral", "positive"] | None
    p_negative: float | None
    p_neutral: float | None
    p_positive: float | None
    p_intent: float | None = Field(description="Probability that the writer means to buy")
    spans: list[Span]


class ScoreResponse(_Plain):
    """One score a text, in the order of the request, all by one version of the model."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={"examples": [{"model_version": "flashsale-text-v3-0a1b2c3d", "scores": [_SCORE]}]},
    )
    model_version: str
    scores: list[Score]


class ModelResponse(_Plain):
    """The model that scores now."""

    model_version: str


class State(_Plain):
    """What a probe is told."""

    status: str


class Problem(BaseModel):
    """What is wrong with a request, and what to do."""

    field: str | None
    row: int | str | None
    problem: str
    remedy: str


class ProblemResponse(BaseModel):
    """The body of every answer that is no success."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "field": "texts",
                        "row": 3,
                        "problem": "it has 6021 characters, more than 5000",
                        "remedy": "cut it, or leave it out",
                    }
                }
            ]
        }
    )
    error: Problem


_WORDS = {
    401: "The bearer token is missing or unknown",
    413: "The body or the number of texts is too large",
    422: "A field cannot be used; `row` counts from 0",
    429: "Too many texts a second for this token; see Retry-After",
    503: "The queue is full, or the service is going away; see Retry-After",
}
#: `responses=` of a guarded route.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemResponse, "description": words} for status, words in _WORDS.items()
}
