"""Sentence vectors by the text model's own encoder, and the copy of it that an assistant keeps.

A vector is the mean of the states over the word pieces, as `Scorer.logits` pools them before its heads, less the
centre of the training questions, at length one. Centring matters: sentences of contrastive encoders crowd in a narrow
cone (Mu and Viswanath 2018), where every cosine is near one.

The copy is of the base model, before fine-tuning: that teaches the upper layers to tell good from bad, which makes them
forget what a question is about (docs/assistant.md has the figures by layer). It counts in 32-bit floats everywhere. An
assistant's bounds hold for the vectors they were chosen on, so it must not take over another encoder when the champion
moves, nor another precision because a processor has other instructions.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from flashsale.errors import InputError
from ml.text.pooled import Floats, pool, unit
from ml.text.scorer import CONFIG, LABELS, MANIFEST, PREFIX, READING, TOKENIZER, WEIGHTS, Scorer, check_manifest

CENTRE = "sentence_centre"
_MAX_TOKENS = 128  # of a message; what is longer is cut
_LAYER = re.compile(r"encoder\.encoder\.layer\.(\d+)\.")


def vectors(scorer: Scorer, texts: Sequence[str]) -> Floats:
    """Unit vectors of `texts`, shape (n, hidden): pooled states less the scorer's `sentence_centre`.

    Equal texts are computed once. A text whose pooled states are the centre itself has the zero vector.
    """
    pooled = pool(scorer, texts) - scorer.heads[CENTRE].float().cpu().numpy()
    return unit(pooled)


def base_folder(name: str, target: Path) -> tuple[Path, str]:
    """Write a base model (see `ml.text.base.ensure_base_model`) as a model folder; returns it and its label.

    The label is a digest of the encoder's weights. The folder's heads say nothing.
    """
    from ml.text import model
    from ml.text.base import ensure_base_model

    base = ensure_base_model(name)
    model.save(model.build(base), base, target, max_tokens=_MAX_TOKENS)
    digest = hashlib.sha256()
    weights = load_file(str(target / WEIGHTS))
    for key in sorted(key for key in weights if key.startswith("encoder.")):
        digest.update(key.encode() + weights[key].contiguous().numpy().tobytes())
    return target, f"base-{digest.hexdigest()[:12]}"


def copy_encoder(folder: Path, target: Path, layers: int | None) -> Scorer:
    """Write a model folder's encoder, or its lower `layers`, as a folder of its own, and load it; its centre is zero.

    Raises InputError where the model is altered, has fewer layers, or learnt a prefix, which belongs to all layers.
    """
    subject = f"model {folder.name}"
    try:
        check_manifest(folder)
    except (OSError, ValueError) as error:
        raise InputError(subject, f"it cannot be used: {error}", "fetch or train it again") from error
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    layers = config["num_hidden_layers"] if layers is None else layers
    if not 1 <= layers <= config["num_hidden_layers"]:
        remedy = f"choose 1 to {config['num_hidden_layers']}"
        raise InputError(subject, f"it has no {layers} layers", remedy, field="layers")
    weights = load_file(str(folder / WEIGHTS))
    if PREFIX in weights:
        raise InputError(subject, "it was trained by prefix tuning", "build on a model with whole weights")
    kept = {name: value for name, value in weights.items() if name.startswith("encoder.") and _within(name, layers)}
    target.mkdir(parents=True, exist_ok=True)
    kept[CENTRE] = torch.zeros(int(config["hidden_size"]))
    save_file(kept, str(target / WEIGHTS))
    (target / CONFIG).write_text(json.dumps(config | {"num_hidden_layers": layers}, indent=1), encoding="utf-8")
    for name in _present(folder, TOKENIZER, LABELS, READING):
        shutil.copyfile(folder / name, target / name)
    _seal(target)
    return open_encoder(target)


def set_centre(scorer: Scorer, folder: Path, pooled: Floats) -> None:
    """Make the mean of `pooled`, shape (n, hidden), the centre of a copied encoder, in memory and in its folder."""
    centre = torch.from_numpy(pooled.astype(np.float64).mean(0).astype(np.float32))
    weights = load_file(str(folder / WEIGHTS))
    weights[CENTRE] = centre
    save_file(weights, str(folder / WEIGHTS))
    _seal(folder)
    scorer.heads[CENTRE] = centre.to(scorer.device)


def open_encoder(folder: Path, *, threads: int | None = None) -> Scorer:
    """Load a copied encoder. Raises InputError where its files are not those that were written."""
    try:
        return Scorer(folder, threads=threads, precision="fp32")
    except (OSError, ValueError, KeyError) as error:
        raise InputError("assistant", f"its encoder cannot be used: {error}", "build it again") from error


def _within(name: str, layers: int) -> bool:
    found = _LAYER.match(name)
    return found is None or int(found[1]) < layers


def _present(folder: Path, *names: str) -> list[str]:
    """The files a folder has: one without a reading reads texts as they come."""
    return [name for name in names if (folder / name).is_file()]


def _seal(folder: Path) -> None:
    """Write the manifest of hashes that `Scorer` checks."""
    names = _present(folder, WEIGHTS, CONFIG, TOKENIZER, LABELS, READING)
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / MANIFEST).write_text(json.dumps(hashes, indent=1, sort_keys=True), encoding="utf-8")
