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
from ml.tracking import client, experiment_id, git_commit, run_of

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

CANDIDATE = "-candidate"
CHAMPION = "champion"
VERSION_FILE = "version.json"
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
    """The version that holds the alias `champion`, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return _version(client().get_model_version_by_alias(name, CHAMPION))
    except MlflowException:
        return None


def promote(candidate: str, version: str, *, by: str, reason: str, override: bool = False) -> Version:
    """Copy an approved candidate to its model and make the copy champion.

    The same candidate twice gives the same champion. A candidate whose gate did not pass (tag `gate_passed`) is
    promoted with `override` alone, and the tag `gate_overridden` says by whom and why. Raises InputError where it does
    not exist, was rejected, did not pass, or nobody is named.
    """
    entry = _reviewed(candidate, version, by, reason)
    if entry.tags.get("review") == "rejected":
        raise InputError(f"model {candidate}/{version}", "it was rejected", "train a new candidate, or promote another")
    decided = _decision("approved", by, reason) | _overridden(entry, override, by, reason)
    name = candidate.removesuffix(CANDIDATE)
    before = champion(name)
    api = client()
    done = entry.tags.get("promoted_to")
    if done is None:
        copy = api.copy_model_version(f"models:/{candidate}/{version}", name)
        done = str(copy.version)
        _tag(name, done, {"candidate": f"{candidate}/{version}"})  # the copy brings the candidate's own tags
        if before is not None:
            _tag(name, done, {"replaced": before.version})
    _tag(name, done, decided)
    _tag(candidate, version, {**decided, "promoted_to": done})
    api.set_registered_model_alias(name, CHAMPION, done)
    return _version(api.get_model_version(name, done))


def _overridden(entry: ModelVersion, override: bool, by: str, reason: str) -> dict[str, str]:
    """The tag of a gate that a person overrode; nothing where it passed. Raises InputError where nobody did."""
    if str(entry.tags.get("gate_passed", "true")).lower() != "false":
        return {}
    if not override:
        raise InputError(
            f"model {entry.name}/{entry.version}",
            f"its gate did not pass: {entry.tags.get('gate_reasons', 'see its card')}",
            "reject it, or promote it with --override and say in the reason why the gate is wrong here",
        )
    return {"gate_overridden": f"by {by}: {reason}"}


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
    if entry.tags.get("review") == "approved":
        raise InputError(f"model {candidate}/{version}", "it was approved", "roll the champion back instead")
    _tag(candidate, version, _decision("rejected", by, reason))
    return _version(entry)


def rollback(name: str, *, by: str, reason: str) -> Version:
    """Give the alias back to the version that the champion replaced.

    Raises InputError where there is no champion or it replaced none.
    """
    now = champion(name)
    if now is None:
        raise InputError(f"model {name}", "it has no champion", "promote a candidate first")
    _reviewed(name, now.version, by, reason)
    before = client().get_model_version(name, now.version).tags.get("replaced")
    if before is None:
        raise InputError(f"model {name}", "the champion replaced no earlier version", "promote another candidate")
    _tag(name, now.version, {"rolled_back_by": by, "rolled_back_at": _now(), "rolled_back_reason": reason})
    client().set_registered_model_alias(name, CHAMPION, before)
    return _version(client().get_model_version(name, before))


def show(name: str) -> dict[str, Any]:
    """The versions of a model, newest first, with tags and aliases; for people and for tests."""
    from mlflow.exceptions import MlflowException

    try:
        model = client().get_registered_model(name)
    except MlflowException as error:
        raise InputError(f"model {name}", "the registry does not know it", "train and register it") from error
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
    return {"name": name, "champion": model.aliases.get(CHAMPION), "versions": versions}


def resolve(model_uri: str) -> Version:
    """The version behind `models:/<name>/<version>`, `models:/<name>@<alias>` or `<name>` (its champion).

    Raises InputError where there is none.
    """
    from mlflow.exceptions import MlflowException

    bare = model_uri.removeprefix("models:/")
    name, _, alias = bare.partition("@")
    try:
        if alias:
            return _version(client().get_model_version_by_alias(name, alias))
        name, _, version = bare.partition("/")
        if version:
            return _version(client().get_model_version(name, version))
        return _version(client().get_model_version_by_alias(name, CHAMPION))
    except MlflowException as error:
        raise InputError(f"model {model_uri}", "the registry has no such version", "train and promote one") from error


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
        local.chmod(0o755)
        os.rename(local, folder)
    except OSError:
        if not (folder / VERSION_FILE).is_file():  # else a twin run was first
            raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folder


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
    from mlflow.exceptions import MlflowException

    if not by.strip() or not reason.strip():
        raise InputError(f"model {name}/{version}", "a decision needs a person and a reason", "give --by and --reason")
    try:
        return client().get_model_version(name, version)
    except MlflowException as error:
        raise InputError(
            f"model {name}/{version}", "the registry has no such version", "see `registry show`"
        ) from error


def _decision(review: str, by: str, reason: str) -> dict[str, str]:
    return {"review": review, "reviewed_by": by, "reviewed_at": _now(), "review_reason": reason}


def _tag(name: str, version: str, tags: Mapping[str, str]) -> None:
    api = client()
    for key, value in tags.items():
        api.set_model_version_tag(name, version, key, value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
