"""A paginated HTTP source: `GET <base>/v1/<stream>?from=…&to=…&cursor=…` answering `{records, next_cursor}`."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from flashsale.errors import InputError
from flashsale.times import Window
from flashsale_plugins.sources.text import exact, text_table

PAGE_LIMIT = 5000
MAX_PAGES = 20_000


def _session(token: str | None, retries: int, backoff: float) -> requests.Session:
    session = requests.Session()
    policy = Retry(
        total=retries,
        backoff_factor=backoff,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=("GET",),
        respect_retry_after_header=True,
        raise_on_status=False,
    )
    session.mount("http://", HTTPAdapter(max_retries=policy))
    session.mount("https://", HTTPAdapter(max_retries=policy))
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
    return session


class HttpSource:
    """Pages of JSON records; transient failures are tried again with growing pauses.

    Args:
        base: address in front of `/v1`.
        token: bearer token, if the source asks for one.
        retries: further tries of one page after 429 and 5xx answers or a dropped connection.
        backoff: seconds before the second further try; doubles with each.
    """

    def __init__(
        self, base: str, *, token: str | None = None, retries: int = 5, backoff: float = 0.5, timeout: float = 30.0
    ) -> None:
        self.base, self.timeout = base.rstrip("/"), timeout
        self.session = _session(token, retries, backoff)

    def _get(self, path: str, params: dict[str, str]) -> Any:
        subject = f"source {self.base}{path}"
        try:
            answer = self.session.get(f"{self.base}{path}", params=params, timeout=self.timeout)
        except requests.RequestException as error:
            raise InputError(
                subject, f"does not answer ({type(error).__name__})", "check that the source is up"
            ) from error
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            remedy = "check the token" if answer.status_code in (401, 403) else "mend the source, then clear the task"
            raise InputError(subject, f"answers {answer.status_code} after all retries", remedy)
        try:
            return exact(answer.content.decode("utf-8-sig"))
        except ValueError as error:
            raise InputError(subject, "does not answer JSON", "mend the source, then clear the task") from error

    def read(self, stream: str, window: Window) -> pa.Table | None:
        """Records of the stream in the window, all pages; None where the source has no such stream.

        Raises InputError where the source fails for good or its cursor comes round again.
        """
        params = {"from": window.start.isoformat(), "to": window.end.isoformat(), "limit": str(PAGE_LIMIT)}
        seen: set[str] = set()
        pages: list[pa.Table] = []
        for _ in range(MAX_PAGES):
            page = self._get(f"/v1/{stream}", params)
            if page is None:
                if "cursor" not in params:
                    return None
                words = "a page is gone (404) after others were read"
                raise InputError(f"stream {stream}", words, "mend the source's paging, then clear the task")
            if not isinstance(page, dict) or not isinstance(page.get("records"), list):
                raise InputError(f"stream {stream}", "a page has no list of records", "answer {records, next_cursor}")
            odd = next((k for k, record in enumerate(page["records"]) if not isinstance(record, dict)), None)
            if odd is not None:
                raise InputError(f"stream {stream}", "a record is no object", "answer {records: [{…}]}", row=odd)
            if page["records"]:
                pages.append(text_table(page["records"]))
            cursor = page.get("next_cursor")
            if not isinstance(cursor, str | None):
                remedy = "answer text or null"
                raise InputError(f"stream {stream}", f"the cursor {cursor!r} is no text", remedy, field="next_cursor")
            if cursor is None:
                return pa.concat_tables(pages, promote_options="default") if pages else pa.table({})
            if cursor in seen:
                raise InputError(
                    f"stream {stream}",
                    f"the cursor loops (at {str(cursor)[:40]!r})",
                    "mend the source's paging, then clear the task",
                    field="next_cursor",
                )
            seen.add(cursor)
            params["cursor"] = str(cursor)
        raise InputError(f"stream {stream}", f"more than {MAX_PAGES} pages", "load a shorter interval")

    def sale_requests(self) -> list[dict[str, Any]]:
        """Requests at `/v1/sale_request`; none where the source has no such page."""
        found = self._get("/v1/sale_request", {})
        if found is None:
            return []
        return found if isinstance(found, list) else [found]
