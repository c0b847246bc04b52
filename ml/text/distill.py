"""A smaller model from a larger one: fewer layers, taught by the larger one's answers (Sanh et al. 2019, DistilBERT).

The student starts with some of the teacher's own layers and its heads, and learns from its softened answers on the
training sentences beside the labels (`teacher_share`, `teacher_temperature`, `keep_layers` of the configuration). An
answer costs nobody's time, so texts without labels can be learnt from too (Turc et al. 2019).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from flashsale.corpora.normal import same, split_of
from flashsale.errors import InputError
from ml.text import model
from ml.text.batches import batches, collate
from ml.text.data import IGNORED, LANGUAGES, Encoded, Example, Taught
from ml.text.network import TextNetwork
from ml.text.scorer import fast_bf16
from ml.text.weak import demand_spans, language_of, purchase_intent

_BUDGET = 8192


def taught(rows: Sequence[Encoded], teacher: TextNetwork, pad: int) -> list[Encoded]:
    """The rows with the teacher's logits for each, in their order."""
    device = next(teacher.parameters()).device
    teacher.eval()
    answers: dict[int, Taught] = {}
    with torch.inference_mode():
        for batch in batches(rows, _BUDGET, None):
            tensors = collate(batch, pad, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=fast_bf16(device)):
                sentiment, intent, tags = (
                    found.float().cpu().numpy() for found in teacher(tensors["ids"], tensors["mask"])
                )
            for at, row in enumerate(batch):
                answers[id(row)] = Taught(sentiment[at], float(intent[at]), tags[at, : len(row.ids)].copy())
    return [replace(row, taught=answers[id(row)]) for row in rows]


def unjudged(paths: Sequence[Path], known: Iterable[Example] = ()) -> list[Example]:
    """The different sentences of files with a column `text`, without a sentiment: what a teacher is to answer.

    Copies of one another, of `known` examples and of sentences that the split rule keeps for validation or test are
    left out; so are rows whose `language`, where the file says it, is neither `zh` nor `en`. Raises InputError where
    nothing is left of all files.
    """
    from ml.text.pretrain import distinct
    from ml.text.score import read_texts

    given: list[str | None] = []
    for path in paths:
        rows = read_texts(path)
        spoken = rows["language"].to_pylist() if "language" in rows.column_names else [None] * rows.num_rows
        pairs = zip(rows["text"].to_pylist(), spoken, strict=True)
        given += [text for text, language in pairs if language is None or language in LANGUAGES]
    seen = {same(example.text) for example in known}
    texts = [text for text in distinct(given) if split_of(text) == "train" and same(text) not in seen]
    if not texts:
        names = ", ".join(path.name for path in paths)
        raise InputError(f"texts {names}", "none is new, in Chinese or English, and for training", "give other texts")
    return [_unjudged(text, language_of(text)) for text in texts]


def _unjudged(text: str, language: str) -> Example:
    return Example(text, language, IGNORED, purchase_intent(text, language), tuple(demand_spans(text, language)))


def student(teacher: TextNetwork, layers: Sequence[int], exits: Sequence[int] = ()) -> TextNetwork:
    """A copy of the teacher with these of its layers, heads included, and fresh exits. Raises InputError where a layer
    or the place of an exit is not there.
    """
    import copy

    if teacher.prefix is not None:
        raise InputError("teacher", "it was tuned by a prefix", "name one whose weights were tuned")
    found = copy.deepcopy(teacher)
    model.keep(found.encoder, layers)
    found.leave_after(exits)
    return found


def load_teacher(name: str, device: torch.device) -> TextNetwork:
    """The network of a registered version, a name or a folder, on the device where it is to be asked."""
    from ml.text.score import locate

    folder: Path = locate(name)[0]
    return model.load(folder).to(device)
