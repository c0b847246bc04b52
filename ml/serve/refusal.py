"""What a request is told that cannot be served: what is wrong, where, and what to do; never what was sent."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from flashsale.errors import InputError


class Refusal(InputError):
    """A request that is refused.

    Args:
        status: the HTTP status.
        reason: one word for logs and metrics.
        retry_after: seconds after which the same request may pass, where that is so.
        close: whether the connection is closed, because what is left of the request is not read.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        problem: str,
        remedy: str,
        *,
        field: str | None = None,
        row: int | str | None = None,
        retry_after: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__("request", problem, remedy, field=field, row=row)
        self.status, self.reason, self.retry_after, self.close = status, reason, retry_after, close

    def response(self) -> JSONResponse:
        """The answer: `{"error": {"field", "row", "problem", "remedy"}}`."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.close:
            headers["Connection"] = "close"
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"error": self.as_dict()}, self.status, headers)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"field": self.field, "row": self.row, "problem": self.problem, "remedy": self.remedy}
