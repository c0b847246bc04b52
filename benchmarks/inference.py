"""Scoring sentences: our served model beside a transformers pipeline and a length-sorted ONNX-int8 session.

    python benchmarks/inference.py [--quick] [--model FOLDER] [--small FOLDER]

The same fine-tuned weights on every side, the first 400 frozen test sentences without duplicates, two threads,
tokenisation counted. The pipeline runs as its page shows it (float32, batches of 32, texts in the order given). The
ONNX side is tuned: BERT's fusions, dynamic int8 by channel (weights of seven bits where the processor adds pairs of
products in 16 bits, which would overflow), texts sorted by length into batches of a token budget, of which 1,024 was
fastest. Macro-F1 of each is printed. Ours lets texts leave at the model's exits, where it has any; `score_vs_own_whole`
is the same model through all layers. With `--small`, a compressed model that was taught by the first: its speed as it
is served, against all layers of the first, in the fastest floats of this processor (`small_vs_full`) and in 8 bits
(`small_vs_full_int8`), and macro-F1 of all on all frozen test sentences.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from benchmarks.harness import Result, compare, parser, write

THREADS = 2
BUDGET = 1024
SENTENCES = 400


def fast_tokenizer(folder: Path) -> Any:
    """The model's tokenizer as transformers knows it."""
    from transformers import PreTrainedTokenizerFast

    from ml.text import scorer

    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / scorer.TOKENIZER),
        pad_token="<pad>",
        model_input_names=["input_ids", "attention_mask"],
    )


def as_read(folder: Path, texts: list[str]) -> list[str]:
    """The texts as the model reads them: its peers know no reading, and are given theirs for nothing."""
    from ml.text import scorer

    tokenizer = scorer.tokenizer_of(folder)
    return [tokenizer.read(text)[0] for text in texts] if isinstance(tokenizer, scorer.Reading) else texts


def pipeline_side(folder: Path, texts: list[str], width: int) -> Callable[[], list[int]]:
    """A transformers text-classification pipeline around the sentiment head."""
    import transformers
    from transformers import BertConfig, BertPreTrainedModel, pipeline
    from transformers.modeling_outputs import SequenceClassifierOutput

    from ml.text import model, scorer

    transformers.logging.set_verbosity_error()  # it lists every class it knows when it meets ours
    inner = model.load(folder)

    class Sentiment(BertPreTrainedModel):  # type: ignore[misc]
        def __init__(self, config: BertConfig) -> None:
            super().__init__(config)
            self.inner = inner

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> Any:
            return SequenceClassifierOutput(logits=self.inner(input_ids, attention_mask)[0])

    config = BertConfig.from_json_file(str(folder / scorer.CONFIG))
    config.num_labels = 3
    config.id2label = {0: "0", 1: "1", 2: "2"}
    run = pipeline(
        "text-classification", model=Sentiment(config).eval(), tokenizer=fast_tokenizer(folder), batch_size=32
    )
    return lambda: [int(row["label"]) for row in run(texts, truncation=True, max_length=width)]


def onnx_side(folder: Path, texts: list[str], width: int, place: Path) -> Callable[[], list[int]]:
    """A fused, dynamically quantised ONNX session, fed in order of length."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model
    from tokenizers import Tokenizer

    from ml.text import model, scorer

    narrow = not scorer.whole_bytes()
    plain, merged, small = (str(place / name) for name in ("plain.onnx", "merged.onnx", "int8.onnx"))
    example = torch.ones((2, 16), dtype=torch.long), torch.ones((2, 16), dtype=torch.long)
    axes = {name: {0: "rows", 1: "width"} for name in ("ids", "mask", "tags")} | {
        "sentiment": {0: "rows"},
        "intent": {0: "rows"},
    }
    torch.onnx.export(
        model.load(folder), example, plain, input_names=["ids", "mask"], output_names=["sentiment", "intent", "tags"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip
    optimize_model(plain, model_type="bert", num_heads=12, hidden_size=384).save_model_to_file(merged)
    given = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(
        merged, small, per_channel=True, reduce_range=narrow, weight_type=QuantType.QInt8, extra_options=given
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(small, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / scorer.TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(width)

    def run() -> list[int]:
        encoded = tokenizer.encode_batch(texts)
        order = sorted(range(len(texts)), key=lambda i: -len(encoded[i].ids))
        found = [0] * len(texts)
        batch: list[int] = []
        for at in [*order, -1]:
            if batch and (at < 0 or (len(batch) + 1) * len(encoded[batch[0]].ids) > BUDGET):
                longest = len(encoded[batch[0]].ids)
                ids, mask = np.ones((len(batch), longest), np.int64), np.zeros((len(batch), longest), np.int64)
                for row, index in enumerate(batch):
                    ids[row, : len(encoded[index].ids)] = encoded[index].ids
                    mask[row, : len(encoded[index].ids)] = 1
                for index, label in zip(batch, session.run(None, {"ids": ids, "mask": mask})[0].argmax(1), strict=True):
                    found[index] = int(label)
                batch = []
            batch.append(at)
        return found

    return run


def ours_side(folder: Path, texts: list[str], precision: str, *, early: bool = True) -> Callable[[], list[int]]:
    """The scorer as it is served: sentiment, intent and spans; with `early` texts leave at the model's exits."""
    from ml.text.scorer import Scorer

    served = Scorer(folder, threads=THREADS, precision=precision, early=early)

    def run() -> list[int]:
        return [served.sentiments.index(label) for label in served.score(texts)["sentiment"]]

    return run


def quality(name: str, truth: list[Any], found: list[int]) -> float:
    """Mean over the languages of sentiment macro-F1; printed."""
    from ml.text.evaluate import macro_f1

    scores = []
    for language in sorted({e.language for e in truth}):
        rows = [(e.sentiment, f) for e, f in zip(truth, found, strict=True) if e.language == language]
        scores.append(macro_f1([t for t, _ in rows], [f for _, f in rows]))
    mean = sum(scores) / len(scores)
    print(f"{name:28} sentiment macro-F1 {mean:.4f}", flush=True)
    return mean


def main() -> None:
    """Measure and write `results/inference.json`."""
    from ml.text.data import load_examples
    from ml.text.score import locate
    from ml.text.scorer import Scorer, fast_bf16

    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", help="a model folder or registry name; default: the champion")
    arguments.add_argument("--small", type=Path, help="folder of a smaller model that the first one taught")
    args = arguments.parse_args()
    torch.set_num_threads(THREADS)
    folder, label = locate(args.model)
    examples = load_examples("test")[: 100 if args.quick else SENTENCES]
    texts = list(dict.fromkeys(e.text for e in examples))
    read = as_read(folder, texts)
    truth = [next(e for e in examples if e.text == text) for text in texts]
    width = Scorer(folder).max_tokens
    speed: dict[str, Any] = {"work": len(texts), "unit": "sentences/s", "rounds": 1 if args.quick else 3, "same": None}
    print(f"{len(texts)} distinct sentences, model {label}, cut after {width} pieces")
    with tempfile.TemporaryDirectory() as scratch:
        served, floats = ours_side(folder, texts, "auto"), "bf16" if fast_bf16(torch.device("cpu")) else "fp32"
        peers = {
            "score_vs_pipeline": pipeline_side(folder, read, width),
            "score_vs_onnx_int8": onnx_side(folder, read, width, Path(scratch)),
            f"score_vs_own_{floats}": ours_side(folder, texts, floats, early=False),
            "score_vs_own_whole": ours_side(folder, texts, "auto", early=False),
        }
        mine = quality("ours", truth, served())
        results: list[Result] = []
        for name, peer in peers.items():
            theirs = quality(name.removeprefix("score_vs_"), truth, peer())
            if mine < theirs - 0.004:
                print(f"  ours is {theirs - mine:.4f} below it", flush=True)
            results.append(compare(name, served, peer, **speed))
            write("inference", results, quick=args.quick)  # a long run keeps what it has measured
        if args.small:
            shown = load_examples("test")[: len(texts) if args.quick else None]
            sides = (folder, floats, False), (folder, "auto", False), (folder, "auto", True), (args.small, "auto", True)
            for place, precision, early in sides:
                found = ours_side(place, [e.text for e in shown], precision, early=early)()
                quality(f"{place.name}, {precision}{', exits' if early else ''}, {len(shown)}", shown, found)
            small = ours_side(args.small, texts, "auto")
            fulls = peers[f"score_vs_own_{floats}"], peers["score_vs_own_whole"]
            for name, full in zip(("small_vs_full", "small_vs_full_int8"), fulls, strict=True):
                results.append(compare(name, small, full, **speed))
                write("inference", results, quick=args.quick)


if __name__ == "__main__":
    main()
