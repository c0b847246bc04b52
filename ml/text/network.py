"""The text model as it is trained: transformers' BERT with two sentence heads and a token head."""

from __future__ import annotations

import torch
from torch import nn
from transformers import BertConfig, BertModel


class TextNetwork(nn.Module):
    """A BERT encoder with two sentence heads (sentiment, intent) and a token head (`O`/`P`).

    Before the heads, vectors are centred and scaled by constants measured on training sentences: those of
    contrastive encoders crowd in a narrow cone (Mu and Viswanath 2018), where a fresh head learns slowly.
    """

    sentence_centre: torch.Tensor
    sentence_scale: torch.Tensor
    piece_centre: torch.Tensor
    piece_scale: torch.Tensor

    def __init__(self, config: BertConfig, *, sentiments: int = 3, tags: int = 2) -> None:
        super().__init__()
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.sentiment = nn.Linear(config.hidden_size, sentiments)
        self.intent = nn.Linear(config.hidden_size, 1)
        self.tags = nn.Linear(config.hidden_size, tags)
        for name in ("sentence", "piece"):
            self.register_buffer(f"{name}_centre", torch.zeros(config.hidden_size))
            self.register_buffer(f"{name}_scale", torch.ones(config.hidden_size))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits for ids and mask of shape (batch, pieces): (batch, 3), (batch,), (batch, pieces, 2)."""
        states, pooled = self.represent(ids, mask)
        pooled = self.dropout((pooled - self.sentence_centre) / self.sentence_scale)
        states = self.dropout((states - self.piece_centre) / self.piece_scale)
        return self.sentiment(pooled), self.intent(pooled).squeeze(-1), self.tags(states)

    def represent(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """States (batch, pieces, hidden) and their mean over pieces (batch, hidden), as multilingual-e5 was
        trained (Wang et al. 2024).
        """
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(states.dtype)
        return states, (states * weights).sum(1) / weights.sum(1).clamp(min=1)
