"""The audit operator: a suite over a table the platform made; a failure stops what would come after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from flashsale_plugins.audits import audit_features, audit_plan, audit_replan

if TYPE_CHECKING:
    from airflow.sdk import Context


class AuditOperator(BaseOperator):
    """Run the suite `features`, with a plan `recommendations`, or with a re-plan `replans`.

    Args:
        suite: `features`, `recommendations` or `replans`.
        plan_id: the plan, or the re-plan, to audit (templated).
        published: audit the published snapshot instead of the build.
    """

    template_fields: Sequence[str] = ("plan_id",)
    ui_color = "#fdf3e1"

    def __init__(self, *, suite: str, plan_id: str = "", published: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.suite, self.plan_id, self.published = suite, plan_id, published

    def execute(self, context: Context) -> dict[str, Any]:
        if self.suite == "features":
            return audit_features(published=self.published)
        return audit_replan(str(self.plan_id)) if self.suite == "replans" else audit_plan(str(self.plan_id))
