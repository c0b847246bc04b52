"""Building, freezing, judging and saving the text model."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel
from transformers.utils import logging as transformers_logging

from ml.text import scorer
from ml.text.data import IGNORED, SENTIMENTS, TAGS
from ml.text.network import TextNetwork


def build(base: Path) -> TextNetwork:
    """Return a network with the encoder of the folder `base` and fresh heads (seed PyTorch first)."""
    transformers_logging.disable_progress_bar()
    config = BertConfig.from_json_file(str(base / scorer.CONFIG))
    network = TextNetwork(config, sentiments=len(SENTIMENTS), tags=len(TAGS))
    network.encoder = BertModel.from_pretrained(base, add_pooling_layer=False)
    for head in (network.sentiment, network.intent, network.tags):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    return network


def freeze_below(network: TextNetwork, layers: int) -> None:
    """Keep the embeddings and the first `layers` layers as they are; 0 trains everything.

    Frozen layers need no gradients and no stored activations, which is most of a short training's cost.
    """
    if layers == 0:
        return
    network.encoder.embeddings.requires_grad_(False)
    for layer in network.encoder.encoder.layer[:layers]:
        layer.requires_grad_(False)


def parameter_groups(
    network: TextNetwork, *, encoder_rate: float, head_rate: float, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """AdamW groups: the heads learn at `head_rate`, the top layer at `encoder_rate`, each lower one at
    `layer_decay` times the one above (Howard and Ruder 2018); biases and norms are not decayed.
    """
    depth = len(network.encoder.encoder.layer)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        inner = encoder_rate * layer_decay ** _below_top(name, depth)
        rate = inner if name.startswith("encoder.") else head_rate
        decay = 0.0 if parameter.ndim < 2 else weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": found, "lr": rate, "weight_decay": decay} for (rate, decay), found in groups.items()]


def _below_top(name: str, depth: int) -> int:
    if ".layer." not in name:
        return depth
    return depth - 1 - int(name.split(".layer.")[1].split(".")[0])


def losses(
    outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    sentiment: torch.Tensor,
    intent: torch.Tensor,
    tags: torch.Tensor,
    *,
    class_weights: torch.Tensor,
    intent_weight: torch.Tensor,
) -> Iterator[torch.Tensor]:
    """Yield the three losses (sentiment, intent, tags), each a mean over what it judges.

    `class_weights` (3,) balances sentiments; `intent_weight` (1,) is the weight of the rare intent 1; tags
    labelled `IGNORED` do not count.
    """
    yield F.cross_entropy(outputs[0].float(), sentiment, weight=class_weights)
    yield F.binary_cross_entropy_with_logits(outputs[1].float(), intent.float(), pos_weight=intent_weight)
    yield F.cross_entropy(outputs[2].float().flatten(0, 1), tags.flatten(), ignore_index=IGNORED)


def save(network: TextNetwork, base: Path, folder: Path, *, max_tokens: int) -> None:
    """Write the model folder that `scorer.Scorer` loads, the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / scorer.WEIGHTS, metadata={"format": "pt"})
    shutil.copyfile(base / scorer.CONFIG, folder / scorer.CONFIG)
    shutil.copyfile(base / scorer.TOKENIZER, folder / scorer.TOKENIZER)
    labels = {"sentiment": list(SENTIMENTS), "tags": list(TAGS), "max_tokens": max_tokens}
    (folder / scorer.LABELS).write_text(json.dumps(labels, sort_keys=True), encoding="utf-8")
    names = (scorer.WEIGHTS, scorer.CONFIG, scorer.TOKENIZER, scorer.LABELS)
    manifest = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / scorer.MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
