"""Eight-bit weights and measured input ranges for a text model, written beside its full weights.

Ranges are measured on training sentences. A channel whose inputs are large is divided before rounding, and its weights
are multiplied: s_j = max|x_j|^0.5 / max|w_j|^0.5 (SmoothQuant, Xiao et al. 2023). The inner product's input comes out
of GELU as bytes already, so it has one step for all channels and a zero point just above GELU's least value; the few
channels whose values are far larger than the rest would make that step coarse, so floats compute them beside it
(LLM.int8, Dettmers et al. 2022). Of what is left the very largest values are cut off, since a finer step for all others
is worth more (Banner et al. 2019 on clipping).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import torch
from safetensors.torch import save_file

from ml.text import scorer

SENTENCES = 512
_GELU_LEAST = 0.17
CLIP = 0.6  # of the largest inner value: seven bits then change the class of 2 % of English sentences instead of 3 %
BESIDE = 16  # inner channels of a layer that floats compute: the ones with the largest values


def measure(folder: Path, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Largest absolute input by product and channel of the model in `folder` on `texts`, in float32."""
    found: dict[str, torch.Tensor] = {}
    one_at_a_time = Lock()  # batches are read by several cores at once

    def take(name: str, given: torch.Tensor) -> None:
        top = given.abs().amax(0).cpu()
        with one_at_a_time:
            found[name] = torch.maximum(found[name], top) if name in found else top

    reader = scorer.Scorer(folder, precision="fp32", early=False)
    reader.encoder.watch = take
    reader.score(texts)
    return found


def quantize(
    weight: torch.Tensor, bias: torch.Tensor, largest: torch.Tensor, *, step: float | None = None
) -> dict[str, torch.Tensor]:
    """One product's plan: `weight` int8 (out, in), `scale`, `bias` (out,), `inverse` (in,), `step`, `zero`.

    `largest` holds the largest absolute input by channel, shape (in,). With `step` the inputs are bytes of that step
    above GELU's least value already.
    """
    zero, smooth = 128, torch.ones_like(largest)
    if step is not None:
        zero = round(_GELU_LEAST / step)
    else:
        typical = weight.abs().amax(0).clamp(min=1e-5)
        smooth = (largest.clamp(min=1e-5) / typical).sqrt()
        step = float((largest / smooth).max()) / 127
    scaled = weight * smooth
    scale = scaled.abs().amax(1).clamp(min=1e-8) / 127
    return {
        "weight": (scaled / scale[:, None]).round().to(torch.int8),
        "scale": scale,
        "bias": bias.clone(),
        "inverse": 1 / (smooth * step),
        "step": torch.tensor(step),
        "zero": torch.tensor(zero),
    }


def quantize_inner(weights: scorer.Tensors, up: str, down: str, largest: torch.Tensor) -> dict[str, torch.Tensor]:
    """The plan of an inner product, and under `beside.*` the weights of the channels that floats compute instead."""
    order = largest.argsort(descending=True)
    kept, rest = order[:BESIDE].sort().values, order[BESIDE:]
    step = CLIP * (max(float(largest[rest].max()), 1.0) + _GELU_LEAST) / 255
    (first, first_bias), (weight, bias) = scorer.fused(weights, up), scorer.fused(weights, down)
    bare = weight.index_fill(1, kept, 0.0)
    parts = quantize(bare, bias, largest, step=step)
    beside = {"up": first[kept], "bias": first_bias[kept], "down": weight[:, kept]}
    return parts | {f"beside.{name}": value for name, value in beside.items()}


def compress(folder: Path, texts: Sequence[str]) -> Path:
    """Write `int8.safetensors` into a model folder and its hash into the manifest; returns the file."""
    from safetensors.torch import load_file

    found = measure(folder, texts[:SENTENCES])
    state = load_file(str(folder / scorer.WEIGHTS))
    weights = {name.removeprefix("encoder."): value for name, value in state.items()}
    plan: dict[str, torch.Tensor] = {}
    for name, largest in found.items():
        if name.endswith(scorer.PRODUCTS[1]) or not name.endswith(scorer.PRODUCTS[3]):
            parts = quantize(*scorer.fused(weights, name), largest)
        else:
            up = name.removesuffix(scorer.PRODUCTS[3]) + scorer.PRODUCTS[2]
            parts = quantize_inner(weights, up, name, largest)
        plan |= {f"{name}.{part}": value.contiguous() for part, value in parts.items()}
    path = folder / scorer.INT8
    save_file(plan, path, metadata={"format": "pt"})
    manifest = json.loads((folder / scorer.MANIFEST).read_text(encoding="utf-8"))
    manifest[scorer.INT8] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / scorer.MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
    return path
