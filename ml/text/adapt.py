"""What of the encoder learns: everything, or the few parameters that a method adds (Hugging Face peft).

LoRA (Hu et al. 2021) and AdaLoRA (Zhang et al. 2023) add low-rank products to every linear layer. Adapters are the
parallel kind of He et al. 2022: a narrow GELU layer beside the inner layer of each block. Both melt into a plain BERT
when training ends, adapters by widening the inner layer, so they are served like a fully trained one. Prefix tuning (Li
and Liang 2021) gives every layer keys and values to attend to; they stay beside the weights and are served with them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ml.text.config import Adaptation
from ml.text.network import TextNetwork

_TARGETS = ["query", "key", "value", "dense"]
_ORTHOGONAL = 0.5  # AdaLoRA's weight of its orthogonality, as in its paper's code
_NAME = "default"
_WEIGHED = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # of peft's RankAllocator


class Adapted:
    """A method at work: what the loop has to tell it. This one is full fine-tuning, which needs nothing."""

    def begin(self, total: int) -> None:
        """Called once the number of optimiser steps is known."""

    def after_step(self, step: int) -> None:
        """Called after every optimiser step, counted from 0, with gradients still in place."""

    def penalty(self) -> torch.Tensor | float:
        """What the method adds to the loss of a step."""
        return 0.0

    def state(self) -> dict[str, torch.Tensor]:
        """What the method knows beside its parameters, for a checkpoint."""
        return {}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Put `state` back, after `begin`."""

    def merge(self, network: TextNetwork) -> None:
        """Make the network plain again with what was learnt."""


class LowRank(Adapted):
    """LoRA, or AdaLoRA, whose ranks shrink where they matter least."""

    def __init__(self, network: TextNetwork, how: Adaptation) -> None:
        from peft import AdaLoraConfig, AdaLoraModel, LoraConfig, LoraModel

        common: dict[str, Any] = {"target_modules": _TARGETS, "lora_alpha": how.alpha, "lora_dropout": 0.0}
        self.how = how
        self.config: Any
        if how.method == "lora":
            self.config = LoraConfig(r=how.rank, **common)
            self.tuner: Any = LoraModel(network.encoder, {_NAME: self.config}, _NAME)
        else:
            # the true number of steps is set before the first one
            self.config = AdaLoraConfig(init_r=2 * how.rank, target_r=how.rank, total_step=10**6, **common)
            self.tuner = AdaLoraModel(network.encoder, {_NAME: self.config}, _NAME)

    def begin(self, total: int) -> None:
        """AdaLoRA shrinks between a tenth and seven tenths of the steps."""
        if self.how.method == "adalora":
            self.config.total_step = total
            self.config.tinit, self.config.tfinal = total // 10, max(1, 3 * total // 10)
            self.config.deltaT = max(1, total // 50)
            self.tuner.rankallocator.set_total_step(total)

    def after_step(self, step: int) -> None:
        """Let AdaLoRA weigh its ranks by the gradients of this step."""
        if self.how.method == "adalora":
            self.tuner.update_and_allocate(step)

    def penalty(self) -> torch.Tensor | float:
        """AdaLoRA's factors are held orthogonal, as singular vectors are."""
        if self.how.method == "lora":
            return 0.0
        found: list[torch.Tensor] = []
        for name, value in self.tuner.model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                square = value @ value.T if "lora_A" in name else value.T @ value
                found.append((square - torch.eye(len(square), device=value.device)).norm())
        return _ORTHOGONAL * torch.stack(found).mean()

    def state(self) -> dict[str, torch.Tensor]:
        """How AdaLoRA weighs its ranks so far, and which of them it has kept."""
        if self.how.method == "lora":
            return {}
        weighed = self.tuner.rankallocator
        found = {f"{part}:{name}": value for part in _WEIGHED for name, value in getattr(weighed, part).items()}
        kept = self.config.rank_pattern or {}
        return found | {f"kept:{name}": torch.tensor(ranks) for name, ranks in kept.items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go on weighing where `state` was taken."""
        device = next(self.tuner.model.parameters()).device
        if any(key.startswith("kept:") for key in state):
            self.config.rank_pattern = {}
        for key, value in state.items():
            part, name = key.split(":", 1)
            if part == "kept":
                self.config.rank_pattern[name] = value.tolist()
            else:
                getattr(self.tuner.rankallocator, part)[name] = value.to(device)

    def merge(self, network: TextNetwork) -> None:
        """Add the products to the weights they stand beside."""
        network.encoder = self.tuner.merge_and_unload()


class Prefix(Adapted):
    """Keys and values that stand before every sentence, in every layer; they begin as those of drawn words."""

    def __init__(self, network: TextNetwork, how: Adaptation) -> None:
        from ml.text.encoder import prefix_of_words

        network.encoder.requires_grad_(False)
        table = network.word_embeddings()
        chosen = torch.randint(len(table), (how.prefix_tokens,), device=table.device)
        network.prefix = nn.Parameter(prefix_of_words(network.encoder, chosen))


class Beside(nn.Module):
    """A narrow GELU layer from and to the hidden size; it begins as 0."""

    def __init__(self, size: int, rank: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(size, rank), nn.Linear(rank, size, bias=False)
        nn.init.zeros_(self.down.weight)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """States of shape (pieces, hidden), in the type they have."""
        kind = states.dtype
        inner = nn.functional.linear(states, self.up.weight.to(kind), self.up.bias.to(kind))
        return nn.functional.linear(nn.functional.gelu(inner), self.down.weight.to(kind))


class Parallels(Adapted):
    """Parallel adapters."""

    def __init__(self, network: TextNetwork, how: Adaptation) -> None:
        network.encoder.requires_grad_(False)
        config = network.encoder.config
        made = [Beside(config.hidden_size, how.rank) for _ in range(config.num_hidden_layers)]
        network.beside.extend(made)
        network.beside.to(network.word_embeddings().device)

    def merge(self, network: TextNetwork) -> None:
        """Widen every inner layer by its adapter: both are GELU between two products, so nothing changes."""
        for layer, beside in zip(network.encoder.encoder.layer, network.beside, strict=True):
            up, down = layer.intermediate.dense, layer.output.dense
            _replace(up, torch.cat([up.weight, beside.up.weight]), torch.cat([up.bias, beside.up.bias]))
            _replace(down, torch.cat([down.weight, beside.down.weight], 1), down.bias)
        network.encoder.config.intermediate_size += network.beside[0].up.out_features
        network.beside = nn.ModuleList()


def adapt(network: TextNetwork, how: Adaptation) -> Adapted:
    """Prepare `network` for a method; the heads always learn (seed PyTorch first)."""
    if how.method == "full":
        return Adapted()
    if how.method == "prefix":
        return Prefix(network, how)
    return Parallels(network, how) if how.method == "adapters" else LowRank(network, how)


def merge(network: TextNetwork, adapted: Adapted) -> None:
    """Give the network its plain shape again; a prefix stays, for nothing plain can hold it."""
    with torch.no_grad():
        adapted.merge(network)


def _replace(layer: nn.Linear, weight: torch.Tensor, bias: torch.Tensor) -> None:
    layer.weight, layer.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    layer.out_features, layer.in_features = weight.shape
