"""The text model as it is trained: BERT's weights with two sentence heads and a token head."""

from __future__ import annotations

import torch
from torch import nn
from transformers import BertConfig, BertModel

from ml.text.encoder import encode


class TextNetwork(nn.Module):
    """A BERT encoder with two sentence heads (sentiment, intent) and a token head (`O`/`P`).

    Before the heads, vectors are centred and scaled by constants measured on training sentences: those of
    contrastive encoders crowd in a narrow cone (Mu and Viswanath 2018), where a fresh head learns slowly.

    Sentiment is read off the mean of a sentence. Intent often is a few words of a long text, which a mean drowns: its
    head reads every piece, and the sentence's logit is their log-sum-exp, a smooth maximum (Ilse et al. 2018, on bags
    of instances).

    Under `torch.autocast` the encoder computes in autocast's type. `prefix` and `beside` are what prefix tuning and
    parallel adapters add (see `ml.text.adapt`); both are empty for every other network.
    """

    sentence_centre: torch.Tensor
    sentence_scale: torch.Tensor
    piece_centre: torch.Tensor
    piece_scale: torch.Tensor

    def __init__(self, config: BertConfig, *, sentiments: int = 3, tags: int = 2) -> None:
        super().__init__()
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.prefix: nn.Parameter | None = None
        self.beside = nn.ModuleList()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.sentiment = nn.Linear(config.hidden_size, sentiments)
        self.intent = nn.Linear(config.hidden_size, 1)
        self.tags = nn.Linear(config.hidden_size, tags)
        for name in ("sentence", "piece"):
            self.register_buffer(f"{name}_centre", torch.zeros(config.hidden_size))
            self.register_buffer(f"{name}_scale", torch.ones(config.hidden_size))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits for ids and mask of shape (batch, pieces): (batch, 3), (batch,), (batch, pieces, 2)."""
        return self.answer(*self.represent(ids, mask), mask)

    def answer(
        self, states: torch.Tensor, pooled: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The heads' logits, as `forward` gives them, of states (batch, pieces, hidden) and their mean over pieces."""
        pooled = self.dropout((pooled - self.sentence_centre) / self.sentence_scale)
        states = self.dropout((states - self.piece_centre) / self.piece_scale)
        cues = self.intent(states).squeeze(-1).masked_fill(mask == 0, -torch.inf)
        return self.sentiment(pooled), torch.logsumexp(cues, 1), self.tags(states)

    def represent(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """States (batch, pieces, hidden) and their mean over pieces (batch, hidden), as multilingual-e5 was
        trained (Wang et al. 2024), both in float32.
        """
        kind = ids.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        with torch.autocast(kind, enabled=False):
            states = encode(self.encoder, ids, mask, dtype=dtype, prefix=self.prefix, beside=list(self.beside)).float()
            weights = mask.unsqueeze(-1).to(states.dtype)
            return states, (states * weights).sum(1) / weights.sum(1).clamp(min=1)

    def word_embeddings(self) -> nn.Parameter:
        """The table of word embeddings, shape (pieces, hidden)."""
        table: nn.Parameter = self.encoder.embeddings.word_embeddings.weight
        return table

    def learn(self, frozen_layers: int) -> None:
        """Training mode, but for the frozen layers: dropout there would only blur what they feed upwards."""
        self.train()
        if frozen_layers:
            self.encoder.embeddings.eval()
            for layer in self.encoder.encoder.layer[:frozen_layers]:
                layer.eval()
