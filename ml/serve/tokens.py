"""Who may ask: bearer tokens, known here by their SHA-256 alone."""

from __future__ import annotations

import hashlib
import hmac
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from flashsale.errors import InputError
from flashsale.local.secret import secret
from flashsale.settings import settings

OWN = "local"
_OF_NOTHING = hashlib.sha256(b"").hexdigest()  # what hashing writes when the command before it gave nothing
_LINE = re.compile(r"([A-Za-z0-9._-]{1,64}):([0-9a-fA-F]{64})")


class Tokens:
    """Names of callers by the SHA-256 of their tokens, 64 hexadecimal digits each."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        self._digests = {name: digest.lower() for name, digest in digests.items()}

    def caller(self, header: str | None) -> str | None:
        """The name behind an `Authorization` header, None where its token is unknown.

        Every digest is compared, each in constant time, so that the time taken tells nothing about the tokens.
        """
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return None
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
        found = [name for name, known in self._digests.items() if hmac.compare_digest(known, digest)]
        return found[0] if found else None


def read_tokens(path: Path) -> Tokens:
    """Tokens of a file: one `name:sha256hex-of-token` a line; blank lines and lines that begin with # are left out.

    Raises InputError where the file is missing or empty, and names the row (from 1) that cannot be read.
    """
    subject, remedy = f"tokens {path.name}", "write name:sha256hex-of-token, see docs/serving.md"
    if not path.is_file():
        raise InputError(subject, "the file is not there", "write it, or leave FLASHSALE_SERVE_TOKENS away")
    digests: dict[str, str] = {}
    for row, line in enumerate(_lines(path, subject), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:  # the line itself is not shown: a token may stand in it
            raise InputError(subject, "it is not a name, a colon and 64 hexadecimal digits", remedy, row=row)
        if match[2].lower() == _OF_NOTHING:
            raise InputError(subject, "it is the hash of an empty token", "make a token and hash it again", row=row)
        if match[1] in digests:
            raise InputError(subject, f"the name {match[1]} stands there twice", "give each caller a name", row=row)
        digests[match[1]] = match[2]
    if not digests:
        raise InputError(subject, "it names nobody", remedy)
    return Tokens(digests)


def _lines(path: Path, subject: str) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(subject, "it is not UTF-8", "save it as UTF-8") from error


def load_tokens(path: Path | None) -> Tokens:
    """Tokens of `path`; without one, this machine's own token, made at the first start.

    It lies in `<home>/secrets/serve.token`, which only its owner reads; stderr names the file, never the token.
    """
    if path is not None:
        return read_tokens(path)
    token = secret(settings().home, "serve.token")
    if not token.strip():
        raise InputError("tokens serve.token", "it is empty", "delete it: the next start makes one")
    print(f"the token of this service is in {settings().home / 'secrets' / 'serve.token'}", file=sys.stderr, flush=True)
    return Tokens({OWN: hashlib.sha256(token.strip().encode()).hexdigest()})
