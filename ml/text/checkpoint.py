"""Where a training stands, on disk: whole or not at all, and without pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

KEPT = 2
_NOTE = "state.json"


@dataclass(frozen=True)
class State:
    """Everything a run needs to go on to the same end: tensors by name, and the history's fields."""

    tensors: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    history: dict[str, Any]

    @staticmethod
    def of(
        trained: Mapping[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        best: Mapping[str, torch.Tensor],
        history: Mapping[str, Any],
    ) -> State:
        """Take the state of a run; nothing is copied until it is written."""
        tensors = {f"parameter.{name}": value.detach() for name, value in trained.items()}
        for name, parameter in trained.items():
            for part, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{part}.{name}"] = value
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        return State(tensors, dict(best), dict(history))

    def restore(self, trained: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        """Put parameters, moments and random numbers back."""
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
        torch.set_rng_state(self.tensors["random.cpu"])
        if "random.cuda" in self.tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.tensors["random.cuda"])


class Checkpoints:
    """A folder of checkpoints, one sub-folder a step; the newest two are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, mark: str, step: int, state: State) -> Path:
        """Write a checkpoint of the run `mark`; it appears whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        place, staged = self.folder / f"step-{step:08d}", self.folder / f".step-{step}.{os.getpid()}"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        for name, tensors in (("state", state.tensors), ("best", state.best)):
            whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            save_file(whole, staged / f"{name}.safetensors")
        (staged / _NOTE).write_text(json.dumps({"mark": mark, "history": state.history}), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        staged.rename(place)
        for old in sorted(self.folder.glob("step-*"))[:-KEPT]:
            shutil.rmtree(old)
        return place

    def newest(self, mark: str) -> State | None:
        """The newest checkpoint of the run `mark`; another run's are left alone."""
        for place in sorted(self.folder.glob("step-*"), reverse=True):
            note = json.loads((place / _NOTE).read_text(encoding="utf-8"))
            if note["mark"] == mark:
                tensors, best = (load_file(str(place / f"{name}.safetensors")) for name in ("state", "best"))
                return State(tensors, best, note["history"])
        return None
