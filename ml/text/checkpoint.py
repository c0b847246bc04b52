"""What a training did and where it stands, on disk: whole or not at all, and without pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from ml.text.data import Encoded

if TYPE_CHECKING:
    from ml.text.even import Apart

KEPT = 2
_MARKED = 8  # characters of a run's mark in a folder's name
_NOTE = "state.json"


@dataclass
class History:
    """What a training run did: one entry an evaluation, and totals. `tokens` counts no padding."""

    evaluations: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_loss: float = float("inf")
    waited: int = 0
    halvings: int = 0
    peak_mib: float = 0.0
    apart: Apart | None = None

    @property
    def tokens_per_second(self) -> float:
        """Word pieces without padding, forward and backward, evaluations counted in the time."""
        return self.tokens / max(self.seconds, 1e-9)


def mark_of(shape: str, rows: Iterable[Encoded], start: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 that names a run: how it trains, every row with its labels and its teacher's answers, where it starts."""
    digest = hashlib.sha256(shape.encode())
    for row in rows:
        digest.update(json.dumps([row.ids, row.tags, row.sentiment, row.intent]).encode())
        if row.taught is not None:
            digest.update(row.taught.sentiment.tobytes() + row.taught.tags.tobytes() + repr(row.taught.intent).encode())
    for name, value in sorted(start.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def random_state(device: torch.device) -> torch.Tensor:
    """The state of this process's random numbers, of the CPU and then of its GPU: bytes (length,)."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return torch.cat(states)


def _put_back(state: torch.Tensor) -> None:
    """Undo `random_state`."""
    size = len(torch.get_rng_state())
    torch.set_rng_state(state[:size].cpu())
    if len(state) > size:
        torch.cuda.set_rng_state(state[size:].cpu())


@dataclass(frozen=True)
class State:
    """Everything a run needs to go on to the same end: tensors by name, what its method keeps beside the parameters,
    and the history's fields.
    """

    tensors: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    method: dict[str, torch.Tensor]
    history: dict[str, Any]

    @staticmethod
    def of(
        trained: Mapping[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        best: Mapping[str, torch.Tensor],
        method: Mapping[str, torch.Tensor],
        random: Sequence[torch.Tensor],
        history: Mapping[str, Any],
    ) -> State:
        """Take the state of a run, `random` of every process by rank; nothing is copied until it is written."""
        tensors = {f"parameter.{name}": value.detach() for name, value in trained.items()}
        for name, parameter in trained.items():
            for part, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{part}.{name}"] = value
        tensors |= {f"random.{rank}": state for rank, state in enumerate(random)}
        return State(tensors, dict(best), dict(method), dict(history))

    def restore(self, trained: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, rank: int) -> None:
        """Put parameters, moments and the random numbers of process `rank` back."""
        for name, parameter in trained.items():
            parameter.data.copy_(self.tensors[f"parameter.{name}"])
            parts = {
                key.split(".")[1]: value
                for key, value in self.tensors.items()
                if key.startswith("optimizer.") and key.split(".", 2)[2] == name
            }
            optimizer.state[parameter] = {
                part: value.to(parameter.device if part != "step" or parameter.is_cuda else "cpu")
                for part, value in parts.items()
            }
        _put_back(self.tensors[f"random.{rank}"])


class Checkpoints:
    """A folder of checkpoints, one sub-folder a step; the newest two of a run are kept, another run's left alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, mark: str, step: int, state: State) -> Path:
        """Write a checkpoint of the run `mark`; it appears whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self.folder / f"step-{step:08d}-{mark[:_MARKED]}"
        staged = self.folder / f".step-{step}.{os.getpid()}"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        for name, tensors in (("state", state.tensors), ("best", state.best), ("method", state.method)):
            whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            save_file(whole, staged / f"{name}.safetensors")
        (staged / _NOTE).write_text(json.dumps({"mark": mark, "history": state.history}), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        staged.rename(place)
        for old in sorted(self.folder.glob(f"step-*-{mark[:_MARKED]}"))[:-KEPT]:
            shutil.rmtree(old)
        return place

    def newest(self, mark: str) -> State | None:
        """The newest checkpoint of the run `mark`."""
        for place in sorted(self.folder.glob(f"step-*-{mark[:_MARKED]}"), reverse=True):
            note = json.loads((place / _NOTE).read_text(encoding="utf-8"))
            if note["mark"] == mark:
                tensors, best, method = (
                    load_file(str(place / f"{name}.safetensors")) for name in ("state", "best", "method")
                )
                return State(tensors, best, method, note["history"])
        return None
