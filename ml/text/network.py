"""The text model as it is trained: BERT's weights with two sentence heads and a token head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import BertConfig, BertModel

from flashsale.errors import InputError
from ml.text.encoder import layers

#: Logits: of the sentiment (batch, 3) a head, of the intent (batch,), of the tags (batch, pieces, 2).
Answers = tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]


def mean_of(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of float32 states (batch, pieces, hidden) over the pieces of a text, shape (batch, hidden)."""
    weights = mask.unsqueeze(-1).to(torch.float32)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


class Exit(nn.Module):
    """A sentiment head on the states after some of the layers: what it is sure of need go no further.

    Args:
        after: layers that stand before it.
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, after: int, size: int, sentiments: int) -> None:
        super().__init__()
        self.after = after
        self.head = nn.Linear(size, sentiments)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))


class TextNetwork(nn.Module):
    """A BERT encoder with two sentence heads (sentiment, intent) and a token head (`O`/`P`).

    Before the heads, vectors are centred and scaled by constants measured on training sentences: those of
    contrastive encoders crowd in a narrow cone (Mu and Viswanath 2018), where a fresh head learns slowly.

    Sentiment is read off the mean of a sentence. Intent often is a few words of a long text, which a mean drowns: its
    head reads every piece, and the sentence's logit is their log-sum-exp, a smooth maximum (Ilse et al. 2018, on bags
    of instances).

    A long encoder may have exits (Xin et al. 2020, DeeBERT; Zhou et al. 2020): sentiment heads after lower layers, all
    learning at once. Intent and spans are then read at the first of them, since both are words more than meaning, which
    upper layers blur; so whoever leaves there has all answers.

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
        self.exits = nn.ModuleList()
        for name in ("sentence", "piece"):
            self.register_buffer(f"{name}_centre", torch.zeros(config.hidden_size))
            self.register_buffer(f"{name}_scale", torch.ones(config.hidden_size))

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, head: int = -1
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits for ids and mask of shape (batch, pieces): (batch, 3), (batch,), (batch, pieces, 2).

        `head` says whose sentiment, of `heads`.
        """
        sentiments, intent, tags = self.answers(ids, mask)
        return sentiments[head], intent, tags

    def answers(self, ids: torch.Tensor, mask: torch.Tensor) -> Answers:
        """As `forward`, with the sentiment of every exit before the last layer's."""
        return self.answer(*self.represent(ids, mask), mask)

    def answer(self, states: torch.Tensor, pooled: Sequence[torch.Tensor], mask: torch.Tensor) -> Answers:
        """The heads' logits, as `answers` gives them, of what `represent` gives."""
        sentiments = [
            head(self.dropout((mean - centre) / scale))
            for mean, (head, centre, scale) in zip(pooled, self.heads(), strict=True)
        ]
        states = self.dropout((states - self.piece_centre) / self.piece_scale)
        cues = self.intent(states).squeeze(-1).masked_fill(mask == 0, -torch.inf)
        return sentiments, torch.logsumexp(cues, 1), self.tags(states)

    def heads(self) -> list[tuple[nn.Linear, torch.Tensor, torch.Tensor]]:
        """Sentiment heads with centre and scale of what they read: the exits', lowest first, then the last layer's."""
        last = (self.sentiment, self.sentence_centre, self.sentence_scale)
        return [*((leave.head, leave.centre, leave.scale) for leave in self.exits), last]

    @property
    def depths(self) -> list[int]:
        """Layers before each of `heads`."""
        return [*(leave.after for leave in self.exits), len(self.encoder.encoder.layer)]

    def leave_after(self, depths: Sequence[int]) -> None:
        """Give the network fresh exits after so many layers each. Raises InputError where they do not rise below its
        last.
        """
        whole = len(self.encoder.encoder.layer)
        if list(depths) != sorted({after for after in depths if 0 < after < whole}):
            problem = f"exits after {list(depths)} do not fit"
            remedy = f"name rising numbers from 1 to {whole - 1}, or none"
            raise InputError("training configuration", problem, remedy, field="exits.after")
        size, sentiments = self.sentiment.in_features, self.sentiment.out_features
        self.exits = nn.ModuleList([Exit(after, size, sentiments) for after in depths])

    def represent(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What the heads read, in float32: the states (batch, pieces, hidden) of the first of `depths`, and of each
        the states' mean over pieces (batch, hidden), as multilingual-e5 was trained (Wang et al. 2024).
        """
        kind = ids.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        with torch.autocast(kind, enabled=False):
            every = layers(self.encoder, ids, mask, dtype=dtype, prefix=self.prefix, beside=list(self.beside))
            read = [states.float() for depth, states in enumerate(every, start=1) if depth in self.depths]
            return read[0], [mean_of(states, mask) for states in read]

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
