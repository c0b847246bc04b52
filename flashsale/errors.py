"""Errors that a person can act on."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used, said so that its owner can mend it.

    Args:
        subject: the stream, request, file or setting that is wrong.
        problem: what is wrong with it.
        remedy: what to do about it.
        field: the field concerned, where there is one.
        row: the row concerned (0-based position or a key), where there is one.
    """

    def __init__(
        self,
        subject: str,
        problem: str,
        remedy: str,
        *,
        field: str | None = None,
        row: int | str | None = None,
    ) -> None:
        self.subject, self.problem, self.remedy = subject, problem, remedy
        self.field, self.row = field, row
        where = "".join([f", field {field!r}" if field is not None else "", f", row {row}" if row is not None else ""])
        super().__init__(f"{subject}{where}: {problem}. Remedy: {remedy}.")
