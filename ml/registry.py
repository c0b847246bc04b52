"""The model registry: candidates in, reviewed champions out, each step recorded.

A trainer writes `<model>-candidate` and nothing else. A review copies an approved version to `<model>` and
moves the alias `champion`; a rejection is a tag; rolling back moves the alias to the version that the current
champion replaced. Models are MLflow "models from code": a script that imports no room of this repository and
a folder of safetensors, JSON and text. No pickle is written, none is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsale.errors import InputError
from flashsale.settings import settings
from ml.registry_content import content_digest
from ml.tracking import asked, client, experiment_id, git_commit, run_of

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

CANDIDATE = "-candidate"
CHAMPION = "champion"
VERSION_FILE = "version.json"
_CONTENT = "content_sha256"
_LONGEST_DESCRIPTION = 5000  # characters, in MLflow's tables on PostgreSQL


@dataclass(frozen=True)
class Version:
    """One registered version. `label` is safe in paths and names it in every table that it scored."""

    name: str
    version: str
    run_id: str
    uri: str

    @property
    def label(self) -> str:
        """`<name>-v<version>`."""
        return f"{self.name}-v{self.version}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "label": self.label}


@dataclass(frozen=True)
class Candidate:
    """What a trainer hands in.

    Args:
        name: the registered name, ending in `-candidate`.
        experiment: the MLflow experiment of the run.
        script: the self-contained script that loads `folder` (it calls `mlflow.models.set_model`).
        folder: safetensors and JSON that the script finds as the artifact `model`.
        card: the model card, Markdown.
        input_example, output_example: a few rows in and out; the signature is inferred from them.
        requirements: packages that the script needs, as `name==version`.
        inference_params: parameters that `predict` takes, with their defaults; MLflow ignores others.
        params, metrics, tags: as MLflow takes them; `digests`: a content hash a data set, by its name.
        files: further files kept with the run (evaluation tables, pictures).
        run_id: the run to log to, from `open_run`; None opens one of its own.
    """

    name: str
    experiment: str
    script: Path
    folder: Path
    card: str
    input_example: pd.DataFrame
    output_example: pd.DataFrame
    requirements: Sequence[str]
    inference_params: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Path] = ()
    run_id: str | None = None


def register_candidate(candidate: Candidate) -> Version:
    """Log a run with its model and register the model as the next version of `candidate.name`."""
    import mlflow
    from mlflow.models import infer_signature

    if not candidate.name.endswith(CANDIDATE):
        raise InputError("registry", f"{candidate.name!r} is no candidate's name", f"end it in {CANDIDATE!r}")
    tags = {"git_commit": git_commit(), **candidate.tags}
    tags |= {f"data.{name}": digest for name, digest in candidate.digests.items()}
    experiment = experiment_id(candidate.experiment)
    with run_of(candidate.run_id, experiment, tags) as run:
        mlflow.log_params(dict(candidate.params))
        mlflow.log_metrics({name: float(value) for name, value in candidate.metrics.items()})
        mlflow.log_text(candidate.card, "model_card.md")
        for path in candidate.files:
            mlflow.log_artifact(str(path), "evaluation")
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(candidate.script),
            artifacts={"model": str(candidate.folder)},
            signature=infer_signature(
                candidate.input_example, candidate.output_example, dict(candidate.inference_params) or None
            ),
            input_example=candidate.input_example,
            pip_requirements=list(candidate.requirements),
        )
        entry = mlflow.register_model(info.model_uri, candidate.name, tags=tags)
        run_id = str(run.info.run_id)
    client().update_model_version(candidate.name, entry.version, description=_shown(candidate.card))
    return Version(candidate.name, str(entry.version), run_id, f"models:/{candidate.name}/{entry.version}")


def _shown(card: str) -> str:
    """The card as the registry's page can hold it: whole, or its first paragraphs and where the rest is."""
    if len(card) <= _LONGEST_DESCRIPTION:
        return card
    head = card[: _LONGEST_DESCRIPTION - 100].rsplit("\n\n", 1)[0]
    return f"{head}\n\n**The whole card** is `model_card.md` among the run's artifacts.\n"


def champion(name: str) -> Version | None:
    """The version that holds the alias `champion`; None where the model or the alias does not exist.

    Raises InputError where the registry cannot be asked.
    """
    entry = asked(lambda: client().get_model_version_by_alias(name, CHAMPION))
    return None if entry is None else _version(entry)


def promote(candidate: str, version: str, *, by: str, reason: str, override: bool = False) -> Version:
    """Copy an approved candidate to its model and make the copy champion.

    Whoever is champion stays so, and nothing is written. A candidate that was promoted before keeps its copy; the tag
    `replaced` names the champion that it took over from this time, which is where `rollback` leads. A candidate whose
    gate did not pass (tag `gate_passed`) is promoted with `override` alone, and the tag `gate_overridden` says by whom
    and why. Raises InputError where it does not exist, was rejected, did not pass, or nobody is named.
    """
    entry = _reviewed(candidate, version, by, reason)
    if entry.tags.get("review", "").strip().lower() == "rejected":
        raise InputError(f"model {candidate}/{version}", "it was rejected", "train a new candidate, or promote another")
    decided = _decision("approved", by, reason) | _overridden(entry, override, by, reason)
    name = candidate.removesuffix(CANDIDATE)
    before, copied = champion(name), _copy_of(entry, name)
    if before is not None and copied is not None and before.version == str(copied.version):
        return before
    api = client()
    # the copy brings the candidate's own tags, and a candidate may have been given any
    copied = copied or api.copy_model_version(f"models:/{candidate}/{version}", name)
    done = str(copied.version)
    held = {_CONTENT: content_digest(fetch(f"models:/{candidate}/{version}"))}
    _tag(name, done, {"candidate": f"{candidate}/{version}", "rolled_back": "false", **held, **decided})
    if before is not None:
        _tag(name, done, {"replaced": before.version})
    elif "replaced" in copied.tags:
        api.delete_model_version_tag(name, done, "replaced")
    _tag(candidate, version, {"promoted_to": done, **decided})
    api.set_registered_model_alias(name, CHAMPION, done)
    return _version(copied)


def _copy_of(entry: ModelVersion, name: str) -> ModelVersion | None:
    """The copy of a candidate that was promoted before; a tag that names a copy of another one counts for nothing."""
    done = entry.tags.get("promoted_to")
    copy = asked(lambda: client().get_model_version(name, done)) if done else None
    return copy if copy is not None and copy.tags.get("candidate") == f"{entry.name}/{entry.version}" else None


def _overridden(entry: ModelVersion, override: bool, by: str, reason: str) -> dict[str, str]:
    """The tag of a gate that a person overrode; nothing where it passed. Raises InputError where nobody did."""
    if not gate_failed(entry.tags):
        return {}
    if not override:
        raise InputError(
            f"model {entry.name}/{entry.version}",
            f"its gate did not pass: {entry.tags.get('gate_reasons', 'see its card')}",
            "reject it, or promote it with --override and say in the reason why the gate is wrong here",
        )
    return {"gate_overridden": f"by {by}: {reason}"}


def gate_failed(tags: Mapping[str, str]) -> bool:
    """Whether a candidate's tags say that its gate did not pass."""
    return str(tags.get("gate_passed", "true")).lower() == "false"


def run_address(run_id: str) -> str | None:
    """Where a browser shows a run; None where no MLflow server is set, or its address holds a password."""
    uri = settings().tracking_uri
    if not uri.startswith("http") or "@" in uri:
        return None
    experiment = client().get_run(run_id).info.experiment_id
    return f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"


def reject(candidate: str, version: str, *, by: str, reason: str) -> Version:
    """Record that a candidate was refused; the champion stays. Raises InputError as `promote` does."""
    entry = _reviewed(candidate, version, by, reason)
    if _copy_of(entry, candidate.removesuffix(CANDIDATE)) is not None:  # a tag alone, set by hand, promoted nothing
        raise InputError(f"model {candidate}/{version}", "it was approved", "roll the champion back instead")
    _tag(candidate, version, _decision("rejected", by, reason))
    return _version(entry)


def rollback(name: str, *, by: str, reason: str, champion_is: str | None = None) -> Version:
    """Give the alias back to the version that the champion replaced when it was last promoted.

    A version that was itself rolled back, and not promoted since, is no place to go back to: a second roll-back goes
    on to an older version or is refused, it never swings between two. `champion_is` names the version that is to give
    way; where that was rolled back already, nothing changes, so that a task may be tried again.
    Raises InputError where there is no champion, it is another one, it replaced none, or that one was rolled back.
    """
    now = champion(name)
    if now is None:
        raise InputError(f"model {name}", "it has no champion", "promote a candidate first")
    gives_way = champion_is or now.version
    tags = _reviewed(name, gives_way, by, reason).tags
    if gives_way != now.version:
        if tags.get("rolled_back") == "true":
            return now
        problem = f"its champion is version {now.version}, not {gives_way}"
        raise InputError(f"model {name}", problem, "look at `registry show` and decide again")
    before = tags.get("replaced")
    if before is None:
        raise InputError(f"model {name}", "the champion replaced no earlier version", "promote another candidate")
    earlier = _existing(name, before)
    if earlier.tags.get("rolled_back") == "true":
        told = f"{earlier.tags.get('rolled_back_by')}: {earlier.tags.get('rolled_back_reason')}"
        problem = f"the champion replaced version {before}, which was itself rolled back ({told})"
        raise InputError(f"model {name}", problem, "promote the candidate that you want")
    left = {"rolled_back": "true", "rolled_back_by": by, "rolled_back_at": _now(), "rolled_back_reason": reason}
    _tag(name, now.version, left)
    client().set_registered_model_alias(name, CHAMPION, before)
    return _version(earlier)


def show(name: str) -> dict[str, Any]:
    """The versions of a model, newest first, with tags and aliases; for people and for tests."""
    model = asked(lambda: client().get_registered_model(name))
    if model is None:
        raise InputError(f"model {name}", "the registry does not know it", "train and register it")
    aliases: dict[str, list[str]] = {}
    for alias, version in model.aliases.items():
        aliases.setdefault(str(version), []).append(alias)
    found = client().search_model_versions(f"name = '{name}'")
    versions = [
        {
            "version": str(v.version),
            "run_id": v.run_id,
            "aliases": aliases.get(str(v.version), []),
            "tags": v.tags,
        }
        for v in sorted(found, key=lambda v: -int(v.version))
    ]
    held = model.aliases.get(CHAMPION)
    return {"name": name, "champion": None if held is None else str(held), "versions": versions}


def resolve(model_uri: str) -> Version:
    """The version behind `models:/<name>/<version>`, `models:/<name>@<alias>` or `<name>` (its champion).

    Raises InputError where there is none, or the registry cannot be asked.
    """
    bare = model_uri.removeprefix("models:/")
    name, _, alias = bare.partition("@")
    version = ""
    if not alias:
        name, _, version = bare.partition("/")
    entry = asked(
        lambda: (
            client().get_model_version(name, version)
            if version
            else client().get_model_version_by_alias(name, alias or CHAMPION)
        )
    )
    if entry is None:
        raise InputError(f"model {model_uri}", "the registry has no such version", "train and promote one")
    return _version(entry)


def fetch(model_uri: str) -> Path:
    """Return a local copy of a registered model: an MLflow model folder, loadable without the registry.

    Cached by version under the platform's models folder; the copy appears whole or not at all.
    `version.json` in it names the version.
    """
    import mlflow

    found = resolve(model_uri)
    # The run is part of the key: a registry that is made anew starts again at version 1.
    mark = hashlib.sha256(f"{found.run_id} {found.name} {found.version}".encode()).hexdigest()[:8]
    folder = settings().models_dir / "registry" / f"{found.label}-{mark}"
    if (folder / VERSION_FILE).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder.parent))
    try:
        local = Path(mlflow.artifacts.download_artifacts(artifact_uri=found.uri, dst_path=str(staged)))
        (local / VERSION_FILE).write_text(json.dumps(found.as_dict(), sort_keys=True), encoding="utf-8")
        _check_content(found, local)
        local.chmod(0o755)
        os.rename(local, folder)
    except OSError:
        if not (folder / VERSION_FILE).is_file():  # else a twin run was first
            raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folder


def _check_content(version: Version, folder: Path) -> None:
    """Whether a promoted version holds what was promoted. Raises InputError."""
    promoted = client().get_model_version(version.name, version.version).tags.get(_CONTENT)
    if promoted and not version.name.endswith(CANDIDATE) and content_digest(folder) != promoted:
        words = "its files are no longer those that were promoted"
        raise InputError(
            f"model {version.label}", words, "find out who changed its run's files; roll the champion back"
        )


def is_set() -> bool:
    """Whether there is a registry to ask; asking a missing SQLite one would make it."""
    return settings().mlflow_tracking_uri is not None or (settings().home / "mlflow.db").exists()


def fetch_champion(name: str) -> Path:
    """Return a local copy of the champion of `name`.

    Where no tracking address is set and none was used before, as in a shell after `make demo`, it is the champion
    that was last fetched on this machine, and a line says which.
    """
    pointer = settings().models_dir / "registry" / f"{name}.{CHAMPION}"
    if not is_set() and pointer.is_file():
        folder = pointer.parent / pointer.read_text(encoding="utf-8").strip()
        if (folder / VERSION_FILE).is_file():
            print(f"no registry is set: the champion last fetched here, {folder.name}", file=sys.stderr, flush=True)
            return folder
    folder = fetch(name)
    staged = pointer.with_name(f".{pointer.name}.{os.getpid()}")
    staged.write_text(folder.name, encoding="utf-8")
    os.replace(staged, pointer)
    return folder


def model_folder(root: Path) -> Path:
    """The folder that a candidate handed in, inside a fetched version; a plain model folder is itself."""
    kept = root / "artifacts"
    folders = [path for path in kept.iterdir() if path.is_dir()] if kept.is_dir() else []
    return folders[0] if len(folders) == 1 else root


def _version(entry: ModelVersion) -> Version:
    uri = f"models:/{entry.name}/{entry.version}"
    return Version(str(entry.name), str(entry.version), str(entry.run_id or ""), uri)


def _reviewed(name: str, version: str, by: str, reason: str) -> ModelVersion:
    if not by.strip() or not reason.strip():
        raise InputError(f"model {name}/{version}", "a decision needs a person and a reason", "give --by and --reason")
    return _existing(name, version)


def _existing(name: str, version: str) -> ModelVersion:
    entry = asked(lambda: client().get_model_version(name, version))
    if entry is None:
        raise InputError(f"model {name}/{version}", "the registry has no such version", "see `registry show`")
    return entry


def _decision(review: str, by: str, reason: str) -> dict[str, str]:
    return {"review": review, "reviewed_by": by, "reviewed_at": _now(), "review_reason": reason}


def _tag(name: str, version: str, tags: Mapping[str, str]) -> None:
    api = client()
    for key, value in tags.items():
        api.set_model_version_tag(name, version, key, value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
