"""YAML that people write: one way to read it, with errors in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from flashsale.errors import InputError

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


class _Loader(yaml.SafeLoader):
    """YAML's plain types, and no field twice: which of two values counts nobody could see.

    Numbers are decimal alone: `0123` and `25:00` stay text, where YAML 1.1 reads 83 and 1500.
    """


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in known if tag not in (_INT, _FLOAT)]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"(?:[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?|\.[0-9]+(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_yaml(text: str, subject: str, remedy: str = "see the example in the README") -> Any:
    """The value that YAML text holds. Raises InputError about `subject` and the line where it cannot be read."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:  # ValueError: 31 November
        mark = getattr(error, "problem_mark", None)
        row = None if mark is None else mark.line + 1
        raise InputError(subject, f"cannot be read ({' '.join(str(error).split())})", remedy, row=row) from error


def read_yaml(path: Path, subject: str, remedy: str = "give a YAML file as in the README") -> Any:
    """The same of a UTF-8 file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InputError(subject, f"cannot be read ({error})", remedy) from error
    return parse_yaml(text, subject, remedy)
