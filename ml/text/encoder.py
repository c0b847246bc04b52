"""BERT's forward pass as training runs it: transformers' weights, fewer and narrower operations.

`encode` computes what `transformers.BertModel` computes (the tests hold it to that), with four differences in how:

- query, key and value are one product;
- between products, states keep the type that is computed in, where autocast widens them to float32 and back;
- dropout draws one random byte an element instead of one float, so its probability is a multiple of 1/256;
- attention weights are not dropped out, and on a CPU attention is plain products: the backward pass of PyTorch's fused
  attention takes six times as long there on sentences of 30 pieces.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import BertModel

_LEVELS = 256


class _DropAdd(torch.autograd.Function):
    """`residual + dropout(x)`; the mask is a byte an element, made of 64-bit draws."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, residual: torch.Tensor, dropped: int) -> torch.Tensor:
        draws = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        bytes_ = draws.view(torch.uint8)[: x.numel()].view_as(x)
        mask = (bytes_ >= dropped).to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
        ctx.save_for_backward(mask)
        return torch.addcmul(residual, x, mask)

    @staticmethod
    def backward(ctx: Any, *given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        (mask,) = ctx.saved_tensors
        return given[0] * mask, given[0], None


def dropped_and_added(x: torch.Tensor, residual: torch.Tensor, probability: float) -> torch.Tensor:
    """`residual + dropout(x)` for two tensors of one shape; on a CPU the probability is rounded to 1/256."""
    if probability == 0.0:
        return x + residual
    if x.device.type != "cpu":
        return residual + F.dropout(x, probability)
    return _DropAdd.apply(x, residual, round(probability * _LEVELS))


def encode(bert: BertModel, ids: torch.Tensor, mask: torch.Tensor, **how: Any) -> torch.Tensor:
    """States (batch, pieces, hidden) after the last layer; arguments and errors are those of `layers`."""
    return deque(layers(bert, ids, mask, **how), maxlen=1).pop()


def layers(
    bert: BertModel,
    ids: torch.Tensor,
    mask: torch.Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    prefix: torch.Tensor | None = None,
    beside: Sequence[nn.Module] = (),
) -> Iterator[torch.Tensor]:
    """States (batch, pieces, hidden) in `dtype` after each layer, for ids and mask of shape (batch, pieces).

    Args:
        bert: dropout is as its configuration says for every part that is in training mode.
        dtype: what is computed in; parameters stay as they are.
        prefix: keys and values that every layer also attends to, shape (layers, 2, heads, tokens, size of a head).
        beside: one module a layer, computed on the same input as the inner products and added to what they give.
    """
    config = bert.config
    heads, epsilon, chance = config.num_attention_heads, config.layer_norm_eps, config.hidden_dropout_prob
    (rows, width), size = ids.shape, config.hidden_size
    table = bert.embeddings
    places = table.position_embeddings.weight[:width] + table.token_type_embeddings.weight[0]
    words = F.embedding(ids, table.word_embeddings.weight) + places
    states = normed(words.view(rows * width, size), table.LayerNorm, epsilon)
    states = F.dropout(states, chance, table.training).to(dtype)
    # a CPU looks whether anything is padded; a GPU would have to wait for the answer
    seen = None if mask.device.type == "cpu" and bool(mask.all()) else mask.bool()
    if seen is not None and prefix is not None:
        seen = F.pad(seen, (prefix.shape[3], 0), value=True)
    for depth, layer in enumerate(bert.encoder.layer):
        drop = chance if layer.training else 0.0
        attention = layer.attention
        query, key, value = _mixed(attention.self, states).view(rows, width, 3, heads, -1).permute(2, 0, 3, 1, 4)
        if prefix is not None:
            first = prefix[depth].to(dtype).unsqueeze(1).expand(-1, rows, -1, -1, -1)
            key, value = torch.cat([first[0], key], 2), torch.cat([first[1], value], 2)
        joined = attend(query, key, value, seen).transpose(1, 2).reshape(rows * width, size)
        out = _product(attention.output.dense, joined)
        middle = normed(dropped_and_added(out, states, drop), attention.output.LayerNorm, epsilon)
        down = _product(layer.output.dense, F.gelu(_product(layer.intermediate.dense, middle)))
        if beside:
            down = down + beside[depth](middle)
        states = normed(dropped_and_added(down, middle, drop), layer.output.LayerNorm, epsilon)
        yield states.view(rows, width, size)


def prefix_of_words(bert: BertModel, ids: torch.Tensor) -> torch.Tensor:
    """Keys and values that these words would have in every layer: (layers, 2, heads, tokens, size of a head)."""
    found = []
    heads, epsilon = bert.config.num_attention_heads, bert.config.layer_norm_eps
    with torch.no_grad():
        table = bert.embeddings
        states = normed(F.embedding(ids, table.word_embeddings.weight), table.LayerNorm, epsilon)
        for layer in bert.encoder.layer:
            attention = layer.attention.self
            parts = [_product(part, states) for part in (attention.key, attention.value)]
            found.append(torch.stack([part.view(len(ids), heads, -1).transpose(0, 1) for part in parts]))
            states = layer(states[None])[0].view(len(ids), -1)
    return torch.stack(found)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
    """Attention (batch, heads, pieces, size of a head) of three such tensors; `seen` (batch, keys) or None for all."""
    if query.device.type != "cpu":
        mask = None if seen is None else seen[:, None, None, :]
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    rows, heads, width, size = query.shape
    flat = [part.reshape(rows * heads, -1, size) for part in (query, key, value)]
    bias = query.new_zeros(1, 1, 1)
    if seen is not None:
        hidden = (~seen).to(query.dtype).mul(torch.finfo(query.dtype).min)
        bias = hidden.repeat_interleave(heads, 0).unsqueeze(1)
    scores = torch.baddbmm(bias, flat[0], flat[1].transpose(1, 2), alpha=size**-0.5)
    return torch.bmm(torch.softmax(scores, -1), flat[2]).view(rows, heads, width, size)


def _product(module: nn.Module, states: torch.Tensor) -> torch.Tensor:
    """A linear layer in the states' type; one that peft wrapped runs as it likes, its own parts cast on the way."""
    if type(module) is nn.Linear:
        return F.linear(states, *_narrow((module,), states.dtype))
    narrow = states.dtype != torch.float32
    with torch.autocast(states.device.type, states.dtype if narrow else None, enabled=narrow, cache_enabled=False):
        return module(states).to(states.dtype)


def _mixed(attention: nn.Module, states: torch.Tensor) -> torch.Tensor:
    parts = (attention.query, attention.key, attention.value)
    if all(type(part) is nn.Linear for part in parts):
        return F.linear(states, *_narrow(parts, states.dtype))
    return torch.cat([_product(part, states) for part in parts], -1)


def _narrow(parts: Sequence[nn.Module], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of linear layers side by side in `dtype`; those that do not learn are narrowed once and kept."""
    tensors = [tensor for part in parts for tensor in (part.weight, part.bias)]
    if any(tensor.requires_grad for tensor in tensors):
        weights, biases = tensors[::2], tensors[1::2]
        joined = (weights[0], biases[0]) if len(parts) == 1 else (torch.cat(weights), torch.cat(biases))
        return joined[0].to(dtype), joined[1].to(dtype)
    mark = (dtype, *((tensor.data_ptr(), tensor._version) for tensor in tensors))
    kept = parts[0].__dict__.get("_narrowed")
    if kept is None or kept[0] != mark:
        with torch.inference_mode(False), torch.no_grad():  # what is kept may stand in a graph later
            found = torch.cat(tensors[::2]).to(dtype), torch.cat(tensors[1::2]).to(dtype)
        kept = parts[0].__dict__["_narrowed"] = (mark, found)
    weight, bias = kept[1]
    return weight, bias


def normed(states: torch.Tensor, norm: nn.Module, epsilon: float) -> torch.Tensor:
    """Layer normalisation in the states' type; a CPU takes parameters of another type as they are, a GPU does not."""
    weight, bias = norm.weight, norm.bias
    if states.device.type != "cpu":
        weight, bias = weight.to(states.dtype), bias.to(states.dtype)
    return F.layer_norm(states, norm.weight.shape, weight, bias, epsilon)
