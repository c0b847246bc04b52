"""The text model as it is served: one file that needs no other of this repository.

MLflow runs this script as a model's code ("models from code"), on Spark executors too, so it imports the standard
library and public packages only. A model folder holds the files named below, `manifest.json` with the SHA-256 of each;
nothing is unpickled. Tags are `O` and `P` on word pieces (a piece that continues a Latin word takes its word's tag); a
span is a run of `P`, given as character offsets of the text as it came.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

WEIGHTS, CONFIG, TOKENIZER, LABELS = "model.safetensors", "config.json", "tokenizer.json", "labels.json"
MANIFEST, INT8, PREFIX, READING = "manifest.json", "int8.safetensors", "prefix", "reading.json"
FORMATS = (2, 3, 4)  # of a folder: texts read as they come; with a reading; with exits: older scorers overlook either
COLUMNS = ("sentiment", "p_negative", "p_neutral", "p_positive", "p_intent", "spans")
Tensors = Mapping[str, torch.Tensor]
EVEN_ODDS, NEVER, _DECIMALS, _AT_ONCE = 0.5, 1.0, 4, 4096  # texts cut into pieces at once: encodings take memory
_BUDGETS = {"cpu": 1024, "cuda": 4096}  # pieces in a batch, padding counted: what stays in a core's cache; a full card
_HAN, _RUN = re.compile(r"[\u3400-\u9fff]"), re.compile(r"(\D)\1\1\1")


class Encoder:
    """BERT's encoder for inference alone, by the names and values of transformers' `BertModel`; nothing is cast.

    Args:
        weights: the state of `BertModel`, without a prefix.
        config: `config.json` of a BERT with GELU and absolute positions; another kind raises ValueError.
        dtype: `torch.float32` or `torch.bfloat16`; sums inside normalisation and softmax are kept in float32.
        plan: `INT8`'s tensors (see `ml.text.compress`): products then multiply 8-bit integers.
    """

    watch: Callable[[str, torch.Tensor], None] | None = None  # given a product's name and input (pieces, channels)

    def __init__(
        self, weights: Tensors, config: Mapping[str, Any], dtype: torch.dtype, device: torch.device, plan: Any = None
    ) -> None:
        if config["hidden_act"] != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
            raise ValueError("only a BERT with GELU and absolute positions can be served")
        self.heads, self.size = int(config["num_attention_heads"]), int(config["hidden_size"])
        self.epsilon, narrow = float(config["layer_norm_eps"]), not whole_bytes()

        def take(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            found = fused(weights, name)
            return found[0].to(device, dtype), found[1].to(device, dtype)

        table, place = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
        self.words = weights[table].to(device, dtype)
        self.places = (weights[place] + weights["embeddings.token_type_embeddings.weight"][0]).to(device, dtype)
        self.norm = take("embeddings.LayerNorm")
        self.prefix = weights[PREFIX].to(device, dtype) if PREFIX in weights else None
        self.layers: list[tuple[Any, ...]] = []
        for depth in range(int(config["num_hidden_layers"])):
            at = f"encoder.layer.{depth}"
            names, beside = [f"{at}.{product}" for product in PRODUCTS], None
            if plan is None:
                products: list[Any] = [partial(functional.linear, weight=w, bias=b) for w, b in map(take, names)]
            else:
                products = [Int8(plan, name, dtype, narrow=narrow) for name in names]
                products[2].emit(products[3])
                beside = [plan[f"{names[3]}.beside.{part}"].to(dtype) for part in ("up", "bias", "down")]
            norms = take(f"{at}.attention.output.LayerNorm"), take(f"{at}.output.LayerNorm")
            self.layers.append((names, *products, beside, *norms))

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States of shape (batch, pieces, hidden) in float32 for ids and mask of shape (batch, pieces)."""
        return self.rise(self.begin(ids), mask, range(len(self.layers))).float()

    def begin(self, ids: torch.Tensor) -> torch.Tensor:
        """States below the first layer, shape (batch, pieces, hidden)."""
        return self._normed(functional.embedding(ids, self.words) + self.places[: ids.shape[1]], self.norm)

    def rise(self, states: torch.Tensor, mask: torch.Tensor, depths: Iterable[int]) -> torch.Tensor:
        """States above the layers `depths`, of those below them."""
        rows, width = mask.shape
        seen = None if bool(mask.all()) else mask[:, None, None, :].bool()
        if seen is not None and self.prefix is not None:
            seen = functional.pad(seen, (self.prefix.shape[3], 0), value=True)
        states = states.reshape(rows * width, self.size)
        for depth in depths:
            names, mixed, out, up, down, beside, first_norm, second_norm = self.layers[depth]
            query, key, value = mixed(states).view(rows, width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            if self.prefix is not None:  # keys and values that prefix tuning learnt
                first = self.prefix[depth][:, None].expand(-1, rows, -1, -1, -1)
                key, value = torch.cat([first[0], key], 2), torch.cat([first[1], value], 2)
            seen_by = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
            joined = seen_by.transpose(1, 2).reshape(rows * width, self.size)
            middle = self._normed(states + out(joined), first_norm)
            inner = up(middle)  # 8-bit products apply GELU themselves
            inner = inner if inner.dtype == torch.uint8 else functional.gelu(inner)
            if self.watch is not None:
                for name, given in zip(names, (states, joined, middle, inner), strict=True):
                    self.watch(name, given[mask.flatten().bool()])
            found = down(inner)
            if beside is not None:
                found += functional.linear(functional.gelu(functional.linear(middle, *beside[:2])), beside[2])
            states = self._normed(middle + found, second_norm)
        return states.view(rows, width, self.size)

    def _normed(self, states: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return functional.layer_norm(states, (self.size,), *norm, self.epsilon)


PRODUCTS = ("attention.self.mixed", "attention.output.dense", "intermediate.dense", "output.dense")  # of a layer


def fused(weights: Tensors, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (out, in) and bias (out,) of a product by its name; `mixed` joins query, key and value."""
    at, _, last = name.rpartition(".")
    parts = [f"{at}.{part}" for part in ("query", "key", "value")] if last == "mixed" else [name]
    return torch.cat([weights[f"{p}.weight"] for p in parts]), torch.cat([weights[f"{p}.bias"] for p in parts])


class Int8:
    """A product of 8-bit integers by oneDNN: weights by output channel, inputs by measured ranges.

    The input is divided by its channels' typical sizes (Xiao et al. 2023, SmoothQuant; the weights hold their half),
    rounded to unsigned bytes around `zero`, and multiplied; sums are kept in 32 bits. The few inner channels with
    outlying values are computed beside it in floats (Dettmers et al. 2022). With `narrow` inputs have seven bits: a
    processor without VNNI adds two products in 16 bits, where two of eight bits overflow without a word.
    """

    def __init__(self, plan: Tensors, name: str, dtype: torch.dtype, *, narrow: bool = False) -> None:
        self.weight = torch.ops.onednn.qlinear_prepack(plan[f"{name}.weight"], None)
        self.scale, self.bias = plan[f"{name}.scale"], plan[f"{name}.bias"]
        self.zeros = torch.zeros(len(self.scale), dtype=torch.int64)
        self.step, self.zero = float(plan[f"{name}.step"]), int(plan[f"{name}.zero"])
        self.inverse, self.most = plan[f"{name}.inverse"], 255
        if narrow:
            coarser = 127 / 63 if self.zero == 128 else 255 / 127
            self.inverse, self.most = self.inverse / coarser, 127
            self.step, self.zero = self.step * coarser, 64 if self.zero == 128 else round(self.zero / coarser)
        self.middle = torch.tensor(self.zero + 0.5)  # cut off = rounded
        self.given: tuple[Any, ...] = (1.0, 0, dtype, "none", [], "")

    def emit(self, following: Int8) -> None:
        """Apply GELU and give bytes as the following product reads them."""
        self.given = (following.step, following.zero, torch.uint8, "gelu", [], "none")

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        if states.dtype != torch.uint8:
            states = torch.addcmul(self.middle, states.float(), self.inverse).clamp_(0, self.most).to(torch.uint8)
        return torch.ops.onednn.qlinear_pointwise(
            states, self.step, self.zero, self.weight, self.scale, self.zeros, self.bias, *self.given
        )


class Reading:
    """A tokenizer that cuts texts as they are read and places the pieces in the texts as they came.

    `table` is what `ml.text.reading.table` describes; where nothing is left to read, the text itself is cut.
    """

    def __init__(self, tokenizer: Tokenizer, table: Mapping[str, Any]) -> None:
        self.tokenizer, self.characters = tokenizer, str.maketrans(table["characters"])
        self.marked, self.signs = frozenset(table["characters"]), frozenset(table["signs"])
        pairs = [table[kind] for kind in ("en", "zh")]
        self.rules = [(re.compile(p), re.compile(f"{p}|{table['rest']}"), words) for p, words in pairs]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def read(self, text: str) -> tuple[str, list[tuple[int, int]]]:
        """The reading, and the bounds in `text` of each of its characters; no bounds where all are in their places."""
        turned = text if self.marked.isdisjoint(text) else text.translate(self.characters)
        lowered = turned.lower() if len(turned.lower()) == len(turned) else turned
        spoken, every, words = self.rules[_HAN.search(turned) is not None]
        finder = spoken if self.signs.isdisjoint(turned) and not _RUN.search(turned) else every
        found = ((*m.span(), words.get(m[0], 3 * turned[m.start()])) for m in finder.finditer(lowered))
        edits = [(start, end, new) for start, end, new in found if new != lowered[start:end]]
        read, bounds, last = "", list[tuple[int, int]](), 0
        for start, end, new in [*edits, (len(turned), len(turned), "")] if edits else ():
            read += turned[last:start] + new
            bounds += [*((at, at + 1) for at in range(last, start)), *[(start, end)] * len(new)]
            last = end
        return (read, bounds) if read.strip() else (turned, [])

    def encode(self, text: str) -> Any:
        """As `encode_batch`, of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Any]:
        """`ids`, `offsets` and `special_tokens_mask` of each text, in order."""
        read = [self.read(text) for text in texts]
        cut = self.tokenizer.encode_batch([one for one, _ in read])
        return [_placed(one, bounds) if bounds else one for one, (_, bounds) in zip(cut, read, strict=True)]


def _placed(cut: Any, bounds: Sequence[tuple[int, int]]) -> SimpleNamespace:
    offsets = [(bounds[s][0], bounds[e - 1][1]) if s < e else (s, s) for s, e in cut.offsets]
    return SimpleNamespace(ids=cut.ids, offsets=offsets, special_tokens_mask=cut.special_tokens_mask)


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a model folder, behind its reading where it has one."""
    tokenizer, path = Tokenizer.from_file(str(folder / TOKENIZER)), folder / READING
    return Reading(tokenizer, json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else tokenizer


def piece_bounds(text: str, offsets: Iterable[tuple[int, int]]) -> list[tuple[int, int, bool]]:
    """Return (start, end, first) a piece: its characters without blanks around, and whether it starts a word.

    A piece starts a word unless it continues a run of Latin letters and digits; special pieces and bare word marks come
    back empty (start = end) and start nothing.
    """
    bounds = []
    for start, end in offsets:
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        continues = 0 < start < end and all(c.isalnum() and ord(c) < 0x250 for c in text[start - 1 : start + 1])
        bounds.append((start, end, start < end and not continues))
    return bounds


def spans_of(text: str, bounds: Sequence[tuple[int, int, bool]], tags: Sequence[int]) -> list[tuple[int, int]]:
    """Return the (start, end) runs of `P` (tag 1); runs that only blanks part are one."""
    spans, current = list[tuple[int, int]](), 0
    for (start, end, first), tag in zip(bounds, tags, strict=True):
        current = tag if first else current
        if start == end or current != 1:
            continue
        joins = bool(spans) and not text[spans[-1][1] : start].strip()
        spans.append((spans.pop()[0] if joins else start, end))
    return spans


def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 pays: on CUDA from Ampere on, on a CPU with the instructions for it."""
    cuda = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return cuda or (device.type == "cpu" and _processor_has("avx512_bf16", "amx_bf16"))


def fast_int8(device: torch.device) -> bool:
    """Whether 8-bit integers pay: on a CPU that multiplies them faster than floats, be it in several instructions."""
    return device.type == "cpu" and (whole_bytes() or _processor_has("avx2"))


def whole_bytes() -> bool:
    """Whether the CPU multiplies and adds whole bytes in one instruction."""
    return _processor_has("avx512_vnni", "avx_vnni", "amx_int8")


def _processor_has(*flags: str) -> bool:
    file = Path("/proc/cpuinfo")
    return file.is_file() and not set(file.read_text().split()).isdisjoint(flags)


def check_manifest(folder: Path) -> dict[str, str]:
    """Return the manifest of a model folder after checking every file's hash. Raises ValueError."""
    manifest: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, digest in manifest.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise ValueError(f"{name} in {folder} is not what was saved; fetch the model again")
    return manifest


class Scorer:
    """A loaded text model: texts in, sentiment, intent and spans out.

    Args:
        folder: a model folder; its hashes are checked.
        threads: CPU threads; None leaves PyTorch's setting alone.
        precision: `fp32`, `bf16`, `int8` (of a compressed folder), or `auto`: the fastest here of those it has.
        early: whether a text whose sentiment an exit is sure of goes no further, where the model has exits.
    """

    def __init__(self, folder: Path, *, threads: int | None = None, precision: str = "auto", early: bool = True):
        check_manifest(folder)
        if threads is not None:
            torch.set_num_threads(threads)
        labels = json.loads((folder / LABELS).read_text(encoding="utf-8"))
        if labels.get("format") not in FORMATS:
            raise ValueError(f"{folder} was saved in format {labels.get('format', 1)}, not {FORMATS}: train it again")
        self.sentiments: list[str] = labels["sentiment"]
        self.max_tokens, self.intent_threshold = int(labels["max_tokens"]), labels.get("intent_threshold", EVEN_ODDS)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        small = (folder / INT8).is_file() and fast_int8(self.device)
        fastest = "int8" if small else "bf16" if fast_bf16(self.device) else "fp32"
        self.precision = fastest if precision == "auto" else precision
        self.tokenizer = tokenizer_of(folder)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_tokens)
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        self.pad = int(config.get("pad_token_id") or 0)
        state = {name: value.to(self.device) for name, value in load_file(str(folder / WEIGHTS)).items()}
        of = ("encoder.", PREFIX)
        mine = {name.removeprefix(of[0]): value for name, value in state.items() if name.startswith(of)}
        bf16 = self.precision == "bf16" or (self.precision == "int8" and fast_bf16(self.device))
        plan = load_file(str(folder / INT8)) if self.precision == "int8" else None
        self.encoder = Encoder(mine, config, torch.bfloat16 if bf16 else torch.float32, self.device, plan=plan)
        self.heads = {name: value for name, value in state.items() if not name.startswith(of)}
        leaves = [(leave["after"], leave["sure"] if early else NEVER) for leave in labels.get("exits", ())]
        self.stops = [(*leave, f"exits.{at}.head", f"exits.{at}.") for at, leave in enumerate(leaves)]
        self.stops.append((len(self.encoder.layers), NEVER, "sentiment", "sentence_"))

    def logits(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As `TextNetwork.forward` in evaluation: (batch, 3), (batch,), (batch, pieces, 2); a sure exit answers."""
        states, below = self.encoder.begin(ids), 0
        here, sentiment = torch.arange(len(ids), device=ids.device), torch.zeros(len(ids), 3, device=ids.device)
        for depth, sure, name, read in self.stops:
            states = self.encoder.rise(states, mask, range(below, depth))
            if not below:  # words are read at the first stop
                tags, cues = (self._answer(name, states, "piece_") for name in ("tags", "intent"))
                intent = cues.squeeze(-1).masked_fill(mask == 0, -torch.inf).logsumexp(1)
            shares, below = mask.unsqueeze(-1).float(), depth
            sentiment[here] = self._answer(name, (states * shares).sum(1) / shares.sum(1).clamp(min=1), read)
            stays = sentiment[here].softmax(-1).amax(-1) <= sure
            if depth == len(self.encoder.layers) or not bool(stays.any()):
                break
            width = int(mask[stays].sum(1).max())
            states, mask, here = states[stays, :width], mask[stays, :width], here[stays]
        return sentiment, intent, tags

    def _answer(self, name: str, states: torch.Tensor, read: str) -> torch.Tensor:
        given = (states.float() - self.heads[f"{read}centre"]) / self.heads[f"{read}scale"]
        return functional.linear(given, self.heads[f"{name}.weight"], self.heads[f"{name}.bias"])

    def score(self, texts: Sequence[str | None]) -> pd.DataFrame:
        """Return one row a text, in order, with the columns of `COLUMNS`; equal texts are scored once.

        `sentiment` is the likeliest class, `p_*` are probabilities to four decimals, `spans` is JSON with character
        offsets: `[{"start": 0, "end": 2, "text": "…"}]`. A text that is null or blank has null scores and no spans.
        """
        distinct = list(dict.fromkeys(text for text in texts if text and text.strip()))
        parts = (list(self._batches(distinct[at : at + _AT_ONCE])) for at in range(0, len(distinct), _AT_ONCE))
        scored = {text: row for part in parts for batch in self._spread(part) for text, row in batch}
        blank = (None, None, None, None, None, "[]")
        frame = pd.DataFrame([scored.get(text or "", blank) for text in texts], columns=list(COLUMNS))
        return frame.astype({name: "float64" if name.startswith("p_") else "object" for name in COLUMNS})

    def _spread(self, batches: list[list[tuple[str, Any]]]) -> Iterable[Iterable[tuple[str, tuple[Any, ...]]]]:
        threads = torch.get_num_threads()
        if self.device.type != "cpu" or threads == 1 or len(batches) < 2 * threads:
            return map(self._score_batch, batches)
        try:  # a batch to a core: cores that share one wait for one another at every product
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as cores:
                return list(cores.map(lambda batch: list(self._score_batch(batch)), batches))
        finally:
            torch.set_num_threads(threads)

    def _batches(self, texts: list[str]) -> Iterator[list[tuple[str, Any]]]:
        """Texts with their encodings, longest first, filled up to the device's budget."""
        pairs = zip(texts, self.tokenizer.encode_batch(texts), strict=True)
        encoded = sorted(pairs, key=lambda pair: (-len(pair[1].ids), pair[0]))
        while encoded:
            rows = max(1, _BUDGETS[self.device.type] // len(encoded[0][1].ids))
            yield encoded[:rows]
            del encoded[:rows]

    def _score_batch(self, batch: list[tuple[str, Any]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
        rows = [torch.tensor(encoding.ids) for _, encoding in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.pad)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        with torch.inference_mode():
            sentiment, intent, tags = self.logits(ids.to(self.device), mask.to(self.device))
        marks, found = tags.argmax(-1).cpu().numpy(), (sentiment.softmax(-1), intent.sigmoid())
        shares, intents = (np.round(given.cpu().double().numpy(), _DECIMALS) for given in found)
        for row, (text, encoding) in enumerate(batch):
            tagged = marks[row, : len(encoding.ids)]
            spans = spans_of(text, piece_bounds(text, encoding.offsets), tagged.tolist()) if tagged.any() else []
            named = [{"start": start, "end": end, "text": text[start:end]} for start, end in spans]
            label = self.sentiments[int(shares[row].argmax())]
            yield text, (label, *shares[row].tolist(), float(intents[row]), json.dumps(named, ensure_ascii=False))


class ServedScorer(PythonModel):
    """The MLflow face of `Scorer`: a frame with a column `text` in, the columns of `COLUMNS` out."""

    def load_context(self, context: Any) -> None:
        """Load the model folder logged as the artifact `model`."""
        self.scorer = Scorer(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score `model_input["text"]`; `params["threads"]` above 0 sets the CPU threads."""
        if params and params.get("threads"):
            torch.set_num_threads(int(params["threads"]))
        texts = (text if isinstance(text, str) else None for text in model_input["text"])
        return self.scorer.score(list(texts)).set_index(model_input.index)


set_model(ServedScorer())
