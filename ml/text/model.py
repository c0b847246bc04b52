"""Building, freezing, judging and saving the text model."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from flashsale.errors import InputError
from ml.text import reading as readings
from ml.text import scorer
from ml.text.base import load_bert
from ml.text.data import IGNORED, SENTIMENTS, TAGS
from ml.text.network import TextNetwork

_SILENT = -5.0  # a piece's first intent logit: a text of 30 pieces begins at odds of one to five


def build(base: Path, keep_layers: Sequence[int] | None = None, exits: Sequence[int] = ()) -> TextNetwork:
    """Return a network with the encoder of the folder `base` and fresh heads (seed PyTorch first).

    With `keep_layers` only these stay, in this order (0 is the lowest); `exits` are what `leave_after` takes. Raises
    InputError where one is not there.
    """
    config = BertConfig.from_json_file(str(base / scorer.CONFIG))
    network = TextNetwork(config, sentiments=len(SENTIMENTS), tags=len(TAGS))
    network.encoder = load_bert(base)
    for head in (network.sentiment, network.intent, network.tags):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    nn.init.constant_(network.intent.bias, _SILENT)
    if keep_layers is not None:
        keep(network.encoder, keep_layers)
    network.leave_after(exits)
    return network


def keep(encoder: BertModel, layers: Sequence[int]) -> None:
    """Drop all layers of an encoder but these; dropping every second or third keeps the most (Sajjad et al. 2023)."""
    stack = encoder.encoder.layer
    wrong = [at for at in layers if not 0 <= at < len(stack)]
    if wrong or not layers:
        problem = f"there is no layer {wrong[0]}" if wrong else "no layer is kept"
        raise InputError("training configuration", problem, f"name some of 0 to {len(stack) - 1}", field="keep_layers")
    encoder.encoder.layer = nn.ModuleList([stack[at] for at in layers])
    encoder.config.num_hidden_layers = len(layers)


def pad_of(folder: Path) -> int:
    """Id of the padding piece of a base or model folder."""
    return int(json.loads((folder / scorer.CONFIG).read_text(encoding="utf-8")).get("pad_token_id") or 0)


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
        rate = inner if name.startswith(("encoder.", "prefix", "beside.")) else head_rate
        decay = 0.0 if parameter.ndim < 2 else weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": found, "lr": rate, "weight_decay": decay} for (rate, decay), found in groups.items()]


def _below_top(name: str, depth: int) -> int:
    if name.startswith(("prefix", "beside.")):
        return 0
    if ".layer." not in name:
        return depth
    return depth - 1 - int(name.split(".layer.")[1].split(".")[0])


def losses(
    outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    totals: Mapping[str, torch.Tensor],
    *,
    class_weights: torch.Tensor,
    intent_weight: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The three losses (sentiment, intent, tags) of a batch, as its share of a step's mean.

    `tensors` is a collated batch and `totals` what `totals` says of all batches of the step: summed over those, each
    loss is the mean over what it judges, however the step was parted. `class_weights` (3,) balances sentiments;
    `intent_weight` (1,) is the weight of the rare intent 1; what is labelled `IGNORED` does not count.
    """
    sentiment, intent, tags = (found.float() for found in outputs)
    counted, goals = labelled(tensors), tensors["intent"].clamp(min=0).float()
    return (
        sentiment_loss(sentiment, tensors, totals, class_weights),
        F.binary_cross_entropy_with_logits(intent, goals, counted, pos_weight=intent_weight, reduction="sum")
        / totals["intent"],
        F.cross_entropy(tags.flatten(0, 1), tensors["tags"].flatten(), ignore_index=IGNORED, reduction="sum")
        / totals["tags"],
    )


def sentiment_loss(
    sentiment: torch.Tensor,
    tensors: Mapping[str, torch.Tensor],
    totals: Mapping[str, torch.Tensor],
    class_weights: torch.Tensor,
) -> torch.Tensor:
    """The first of `losses`, of one head's logits (batch, 3)."""
    goals = tensors["sentiment"]
    summed = F.cross_entropy(sentiment.float(), goals, class_weights, ignore_index=IGNORED, reduction="sum")
    return summed / totals["sentiment"]


def taught_losses(
    outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    totals: Mapping[str, torch.Tensor],
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distances to a teacher's softened answers, times the square of the temperature (Hinton et al. 2015)."""
    sentiment, intent, tags = (found.float() for found in outputs)
    intent, tags = intent / temperature, tags / temperature
    wanted = {name: tensors[f"taught_{name}"] / temperature for name in ("intent", "tags")}
    counted, judged = labelled(tensors), (tensors["tags"] != IGNORED).float()
    scale = temperature**2
    meant, told = (torch.stack([value, torch.zeros_like(value)], -1) for value in (intent, wanted["intent"]))
    return (
        taught_sentiment_loss(sentiment, tensors, totals, temperature),
        scale * _divergence(meant, told, counted) / totals["intent"],
        scale * _divergence(tags, wanted["tags"], judged) / totals["tags"],
    )


def taught_sentiment_loss(
    sentiment: torch.Tensor, tensors: Mapping[str, torch.Tensor], totals: Mapping[str, torch.Tensor], temperature: float
) -> torch.Tensor:
    """The first of `taught_losses`, of one head's logits (batch, 3)."""
    wanted, counted = tensors["taught_sentiment"] / temperature, labelled(tensors)
    return temperature**2 * _divergence(sentiment.float() / temperature, wanted, counted) / totals["intent"]


def _divergence(found: torch.Tensor, wanted: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Sum of KL(wanted || found), both logits of shape (…, classes), over what `counted` (…) says 1 of."""
    apart = F.kl_div(found.log_softmax(-1), wanted.log_softmax(-1), reduction="none", log_target=True)
    return (apart.sum(-1) * counted).sum()


def labelled(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """1 for the sentences of a batch and 0 for rows that only fill it, shape (batch,) in float32."""
    return (tensors["intent"] != IGNORED).float()


def totals(batches: Sequence[Mapping[str, torch.Tensor]], class_weights: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the losses of a step are divided by: weights of its known sentiments, its sentences, its judged pieces."""
    tags = torch.stack([(batch["tags"] != IGNORED).sum() for batch in batches]).sum()
    return {
        "sentiment": torch.stack([_weight(batch["sentiment"], class_weights) for batch in batches])
        .sum()
        .clamp(min=1e-6),
        "intent": torch.stack([labelled(batch).sum() for batch in batches]).sum().clamp(min=1),
        "tags": tags.clamp(min=1),
    }


def _weight(sentiments: torch.Tensor, class_weights: torch.Tensor) -> torch.Tensor:
    """Weight of the sentiments that somebody gave; no boolean index, whose shape a GPU would have to wait for."""
    return (class_weights[sentiments.clamp(min=0)] * (sentiments != IGNORED)).sum()


@contextmanager
def moved_against(words: nn.Parameter, size: float, along: torch.Tensor) -> Iterator[None]:
    """Move the word embeddings by `size` along a gradient while inside, and put them back exactly.

    FGM (Miyato et al. 2017): x + size x g / ||g||; the gradients of a second pass inside are added to the first's.
    """
    kept = words.data.clone()
    words.data.add_(along * (size / along.norm().clamp(min=torch.finfo(along.dtype).tiny)))
    try:
        yield
    finally:
        words.data.copy_(kept)


def set_dropout(network: TextNetwork, probability: float) -> None:
    """Drop out hidden states and head inputs with this probability."""
    network.encoder.config.hidden_dropout_prob = probability
    network.dropout.p = probability


def load(folder: Path) -> TextNetwork:
    """The network of a saved model folder, in float32 and evaluation mode; hashes are checked (ValueError)."""
    scorer.check_manifest(folder)
    network = TextNetwork(BertConfig.from_json_file(str(folder / scorer.CONFIG)))
    labels = json.loads((folder / scorer.LABELS).read_text(encoding="utf-8"))
    network.leave_after([leave["after"] for leave in labels.get("exits", [])])
    state = load_file(str(folder / scorer.WEIGHTS))
    if scorer.PREFIX in state:
        network.prefix = nn.Parameter(state[scorer.PREFIX])
    network.load_state_dict(state)
    return network.eval()


def save(
    network: TextNetwork,
    base: Path,
    folder: Path,
    *,
    max_tokens: int,
    reading: str = "none",
    intent_threshold: float = scorer.EVEN_ODDS,
    sure: Sequence[float] = (),
) -> None:
    """Write the model folder that `scorer.Scorer` loads, the manifest last.

    `reading` is what it was trained with, `intent_threshold` the probability from which on a text is one of intent,
    `sure` the probability of the likeliest class from which on a text leaves at each exit (without: never).
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / scorer.WEIGHTS, metadata={"format": "pt"})
    config = json.loads((base / scorer.CONFIG).read_text(encoding="utf-8"))
    shape = {name: getattr(network.encoder.config, name) for name in ("intermediate_size", "num_hidden_layers")}
    (folder / scorer.CONFIG).write_text(json.dumps(config | shape, indent=1, sort_keys=True), encoding="utf-8")
    shutil.copyfile(base / scorer.TOKENIZER, folder / scorer.TOKENIZER)
    labels = {"sentiment": list(SENTIMENTS), "tags": list(TAGS), "max_tokens": max_tokens}
    as_it_comes, read, with_exits = scorer.FORMATS
    labels |= {"format": as_it_comes if reading == "none" else read, "reading": reading}
    if network.exits:
        bounds = sure or [scorer.NEVER] * len(network.exits)
        pairs = zip(network.depths, bounds, strict=False)
        labels |= {"format": with_exits, "exits": [{"after": after, "sure": bound} for after, bound in pairs]}
    labels["intent_threshold"] = round(intent_threshold, 4)
    (folder / scorer.LABELS).write_text(json.dumps(labels, sort_keys=True), encoding="utf-8")
    names = [scorer.WEIGHTS, scorer.CONFIG, scorer.TOKENIZER, scorer.LABELS]
    if reading != "none":
        names.append(readings.write(folder).name)
    manifest = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / scorer.MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
