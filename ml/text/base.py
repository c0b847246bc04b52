"""Base models: the embedded one, a folder, or a Hugging Face name; looked at before hours are spent on them.

A base may be pinned, `NAME@sha256:HEX`, by the digest that `python -m ml text base` prints. Weights are read from
safetensors alone: other formats can run code when they are opened.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsale.errors import InputError

if TYPE_CHECKING:
    from transformers import BertModel

_PIN = "@sha256:"
_CONFIG, _TOKENIZER = "config.json", "tokenizer.json"
#: What the training and serving code computes, and what transformers takes for granted where a folder does not say.
_NEEDED = {"model_type": ("bert", "bert"), "hidden_act": ("gelu", "gelu"), "position_embedding_type": ("absolute",) * 2}


def ensure_base_model(name: str) -> Path:
    """Return a local folder with config.json, safetensors and tokenizer.json for a base model.

    `embedded` is the model of `ml.text.embedded`; an existing folder is itself; anything else is taken for a
    Hugging Face name and downloaded by its own client. Raises InputError where none of it works, where the weights are
    not those of the pin, or the model is none that can be trained here.
    """
    plain, _, pin = name.partition(_PIN)
    folder = _located(plain)
    check_base(folder)
    if pin and (found := weights_digest(folder)) != pin.strip().lower():
        raise InputError(
            "base model",
            f"the weights of {plain!r} have the SHA-256 {found}, not the pinned {pin}",
            "find out who changed them, or pin this digest",
        )
    return folder


def _located(name: str) -> Path:
    if name == "embedded":
        from ml.text.embedded import embedded_model

        return embedded_model()
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        remedy = "use `embedded`, or a folder, or a Hugging Face name with a network that reaches it"
        raise InputError("base model", f"{name!r} cannot be had: {error}", remedy) from error


def check_base(folder: Path) -> None:
    """Whether a folder holds a BERT that can be trained and served here. Raises InputError that says what is amiss."""
    where = f"base model {folder.name}"
    for name, words in ((_CONFIG, "a folder saved by transformers"), (_TOKENIZER, "a folder with a fast tokenizer")):
        if not (folder / name).is_file():
            remedy = f"name {words}; `AutoTokenizer.from_pretrained(…).save_pretrained(…)` writes it from vocab.txt"
            raise InputError(where, f"it has no {name}", remedy if name == _TOKENIZER else f"name {words}")
    config = _config(folder, where)
    for field, (wanted, usual) in _NEEDED.items():
        if config.get(field, usual) != wanted:
            remedy = "name a BERT, such as bert-base-chinese or bert-base-multilingual-cased"
            raise InputError(where, f"it is {config[field]!r}, and only {wanted!r} can be trained", remedy, field=field)
    if not _weights(folder):
        raise InputError(
            where,
            "it has no safetensors, and weights in other formats are not opened, since they can run code",
            "convert it where you trust it: `model.save_pretrained(folder)` of transformers writes safetensors",
        )


def _config(folder: Path, where: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(where, f"{_CONFIG} cannot be read: {error}", "save or fetch the folder again") from error
    return dict(found) if isinstance(found, dict) else {}


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("model*.safetensors"))


def weights_digest(folder: Path) -> str:
    """SHA-256 over a base model's weights, its files in the order of their names."""
    digest = hashlib.sha256()
    for path in _weights(folder):
        with path.open("rb") as file:
            for block in iter(lambda file=file: file.read(1 << 20), b""):  # type: ignore[misc]
                digest.update(block)
    return digest.hexdigest()


def load_bert(folder: Path) -> BertModel:
    """The encoder of a base model's folder, without a pooler. Raises InputError where weights are missing."""
    from transformers import BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    found, notes = BertModel.from_pretrained(
        folder, add_pooling_layer=False, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
    )
    wrong = sorted({*notes["missing_keys"], *(name for name, *_ in notes["mismatched_keys"])})
    if wrong:
        named = f"{', '.join(wrong[:3])}{' …' if len(wrong) > 3 else ''}"
        raise InputError(
            f"base model {folder.name}",
            f"{len(wrong)} of its weights are missing or of another shape ({named}), and would be random",
            "fetch it again, or name a complete BERT",
        )
    return found
