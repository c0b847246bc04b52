"""Several processes under `torchrun` compute what one does, and go on from a checkpoint to the same end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from ml.text.batches import batches
from tests.ml.text.test_training import _rows

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
import torch
torch.set_num_threads(1)
from ml.text import model
from ml.text.train import Trainer, seed_everything
from tests.ml.text.test_training import _config, _rows
base = Path({base!r})
for run in {runs}:
    seed_everything(4)
    network = model.build(base)
    config = _config(epochs=2, **{{"dropout": 0.0, "accumulate": {accumulate}, **run["changes"]}})
    folder = Path(run["folder"]) if run["folder"] else None
    trainer = Trainer(network, config, pad=1, seed=4, checkpoints=folder)
    if run["stop"]:
        plain, trainer._step = trainer._step, lambda step, history: (
            sys.exit() if history.steps == run["stop"] else plain(step, history))
    try:
        trainer.fit(_rows(base)[:45], _rows(base)[:10])
    except SystemExit:
        continue
    if trainer.parallel.first:
        from safetensors.torch import save_file
        save_file({{k: v.contiguous() for k, v in network.state_dict().items()}}, run["out"])
"""


def _torchrun(place: Path, base: Path, accumulate: int, runs: list[dict[str, object]], launch: list[str]) -> None:
    root, script = str(Path(__file__).parents[3]), place / f"program-{accumulate}.py"
    script.write_text(PROGRAM.format(root=root, base=str(base), accumulate=accumulate, runs=runs))
    done = subprocess.run(
        [sys.executable, *launch, str(script)], capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def _run(out: Path, changes: dict[str, object], folder: Path | None = None, stop: int = 0) -> dict[str, object]:
    return {"out": str(out), "changes": changes, "folder": str(folder or ""), "stop": stop}


def test_two_processes_compute_what_one_does(tiny_base: Path, tmp_path: Path) -> None:
    """`torchrun` with two processes and one batch each equals one process that accumulates two, also where an epoch's
    last step has a batch for one of them alone, and where a step moves against the gradient of both.
    """
    made = list(batches(_rows(tiny_base)[:45], 96, None))
    assert len(made) % 2 == 1, "the last step of an epoch has one batch"
    settings: dict[str, dict[str, object]] = {"plain": {}, "moved": {"adversarial": 0.5}}
    for name, accumulate, launch in (("alone", 2, []), ("both", 1, TWO)):
        runs = [_run(tmp_path / f"{name}-{kind}", changes) for kind, changes in settings.items()]
        _torchrun(tmp_path, tiny_base, accumulate, runs, launch)
    for kind in settings:
        one, two = (load_file(tmp_path / f"{name}-{kind}") for name in ("alone", "both"))
        for name, value in one.items():
            assert torch.allclose(value, two[name], atol=1e-5), (kind, name)


def test_two_processes_go_on_from_a_checkpoint_to_the_same_end(tiny_base: Path, tmp_path: Path) -> None:
    changes: dict[str, object] = {"checkpoint_every": 1, "dropout": 0.2}
    runs = [
        _run(tmp_path / "whole", changes, tmp_path / "a"),
        _run(tmp_path / "never", changes, tmp_path / "b", stop=3),
        _run(tmp_path / "again", changes, tmp_path / "b"),
    ]
    _torchrun(tmp_path, tiny_base, 1, runs, TWO)
    whole, again = load_file(tmp_path / "whole"), load_file(tmp_path / "again")
    assert not (tmp_path / "never").exists()
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name
