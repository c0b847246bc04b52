"""Decisions that a reviewer wrote as tags on a candidate's page in MLflow, carried out by the reviewer.

Who set a tag is recorded nowhere, and whoever trains may tag what it registers. So no DAG runs this: the person who
decided reads what would be done and has it done with a login that may promote (docs/text_model.md, Review).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flashsale.errors import InputError
from ml.registry import CANDIDATE, gate_failed, promote, reject, show
from ml.tracking import client

APPROVED, REJECTED = "approved", "rejected"
OVERRIDDEN = "gate_overridden"
#: Written by a decision that was carried out, by whichever way.
_DONE = ("promoted_to", "reviewed_at")


@dataclass(frozen=True)
class Decision:
    """What the tags of one candidate ask for."""

    candidate: str
    version: str
    review: str
    by: str
    reason: str
    override: bool

    def carry_out(self) -> None:
        """Promote or reject, through the same gate as every other way."""
        if self.review == APPROVED:
            promote(self.candidate, self.version, by=self.by, reason=self.reason, override=self.override)
        else:
            reject(self.candidate, self.version, by=self.by, reason=self.reason)


def tagged(name: str | None = None) -> list[Decision]:
    """The decisions that tags ask for and that were not carried out, oldest version first.

    `name` is a candidate's; without it all are read. Raises InputError where a tag is missing or none of ours, or an
    approval lacks the override that its gate asks for: nothing is carried out then.
    """
    if name is not None and not name.endswith(CANDIDATE):
        raise InputError("registry", f"{name!r} is no candidate's name", f"name one that ends in {CANDIDATE!r}")
    found: list[Decision] = []
    for candidate in [name] if name else _candidates():
        for entry in reversed(show(candidate)["versions"]):
            tags = entry["tags"]
            if tags.get("review", "").strip() and not any(tag in tags for tag in _DONE):
                found.append(_read(candidate, entry["version"], tags))
    return found


def apply_tags(name: str | None = None, *, carry_out: bool = False) -> dict[str, Any]:
    """What the tags ask for (`tagged`), carried out where `carry_out` is set; again finds nothing left to do."""
    decisions = tagged(name)
    if carry_out:
        for decision in decisions:
            decision.carry_out()
    return {"carried_out": carry_out, "decisions": [asdict(decision) for decision in decisions]}


def _candidates() -> list[str]:
    found: list[str] = []
    page, token = 100, None
    while True:
        models = client().search_registered_models(f"name LIKE '%{CANDIDATE}'", max_results=page, page_token=token)
        found += [str(model.name) for model in models]
        token = models.token
        if not token:
            return sorted(found)


def _read(candidate: str, version: str, tags: Mapping[str, str]) -> Decision:
    subject = f"model {candidate}/{version}"
    page = "set it on the version's page in MLflow"
    review = tags["review"].strip().lower()
    if review not in (APPROVED, REJECTED):
        raise InputError(subject, f"{review!r} is no decision", f"make it {APPROVED} or {REJECTED}", field="review")
    for tag, words in (("reviewed_by", "who decided"), ("review_reason", "why")):
        if not tags.get(tag, "").strip():
            problem = f"it is tagged as {review}, and the tag that says {words} is missing"
            raise InputError(subject, problem, page, field=tag)
    override = tags.get(OVERRIDDEN, "").strip().lower() == "true"
    if review == APPROVED and gate_failed(tags) and not override:
        problem = f"its gate did not pass: {tags.get('gate_reasons', 'see its card')}"
        remedy = f"reject it, or {page} to `true` and say in review_reason why the gate is wrong here"
        raise InputError(subject, problem, remedy, field=OVERRIDDEN)
    by, reason = tags["reviewed_by"].strip(), tags["review_reason"].strip()
    return Decision(candidate, version, review, by, reason, override)
