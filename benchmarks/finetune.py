"""Fine-tuning: our loop beside Hugging Face's Trainer, as it comes and tuned.

    python benchmarks/finetune.py [--quick]

The same base, data, seed, learning rates, dropout of hidden states and number of optimiser steps on every side, all
layers learn; what is compared is word pieces without padding a second, in `train()` alone. The default Trainer pads to
128 in float32, as the article that this platform began with did; the tuned one computes in bfloat16 where the hardware
does (as ours does there), groups by length, and pads to the longest of a batch. Both sides train with the same three
seeds in turn; the loss on held-out sentences is printed for all, and the mean of ours may be at most 0.03 higher.

Where there is a GPU both sides use it, on more sentences, and a third comparison has the shape of BERT base (random
weights: they do not change the speed, so losses are not compared there) with 256 rows a step. Utilisation is the
floating-point operations of the pieces without padding, three times a forward pass, over what a product of two
8192 x 8192 matrices in bfloat16 reaches on the same card in the same run.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.harness import Result, compare, parser, write

THREADS, WIDTH, SEED = 2, 128, 7
SEEDS, TOLERANCE = 3, 0.03
NEAR = 64  # pieces of budget to either side that are looked through for the same number of steps
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")


@dataclass(frozen=True)
class Case:
    """One comparison: which peer, how many sentences in how many rows a step, on which shape of BERT."""

    name: str
    tuned: bool
    rows: int
    quick_rows: int
    rows_a_step: int = 32
    base_shape: bool = False


CASES = (
    Case("finetune_vs_trainer_default", False, 96, 32),
    Case("finetune_vs_trainer_tuned", True, 1920, 64),
)
CUDA_CASES = (
    Case("finetune_vs_trainer_default_cuda", False, 3200, 640),
    Case("finetune_vs_trainer_tuned_cuda", True, 6400, 640),
    Case("finetune_vs_trainer_tuned_cuda_bert_base", True, 10240, 2560, rows_a_step=256, base_shape=True),
)


@dataclass(frozen=True)
class Task:
    """What every side is given: encoded rows to learn from and to be judged on, and a network to start from."""

    train: list[Any]
    valid: list[Any]
    start: Any
    config: Any
    pad: int
    rows_a_step: int

    @property
    def pieces(self) -> int:
        """Word pieces in one pass, padding not counted."""
        return sum(len(row.ids) for row in self.train)

    @property
    def steps(self) -> int:
        """Optimiser steps in one pass."""
        return -(-len(self.train) // self.rows_a_step)


def prepare(case: Case, rows: int) -> Task:
    """The first training sentences by hash, both languages, cut at 128 pieces, and the embedded base or its shape."""
    from tokenizers import Tokenizer

    from flashsale.settings import settings
    from ml.text import model
    from ml.text.base import ensure_base_model
    from ml.text.config import load_config
    from ml.text.data import encode, load_examples

    base = ensure_base_model(settings().text_base_model)
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    train, valid = (encode(load_examples(s)[:n], tokenizer, WIDTH) for s, n in (("train", rows), ("valid", 300)))
    torch.manual_seed(SEED)
    config = load_config(
        "full", epochs=1, patience=99, evaluate_every=10**6, valid_rows=1, batch_tokens=4096, adversarial=0.0
    )
    start = of_base_shape(base) if case.base_shape else model.build(base)
    return Task(train, valid, start, config, pad=1, rows_a_step=case.rows_a_step)


def of_base_shape(base: Path) -> Any:
    """A network of twelve layers of 768, as BERT base has, with random weights and the vocabulary of `base`."""
    from transformers import BertConfig

    from ml.text import scorer
    from ml.text.network import TextNetwork

    config = BertConfig.from_json_file(str(base / scorer.CONFIG))
    config.hidden_size, config.num_attention_heads, config.intermediate_size = 768, 12, 3072
    return TextNetwork(config)


def same_steps(task: Task) -> Any:
    """The configuration whose piece budget gives as many steps as batches of 32 rows."""
    import random

    from ml.text.batches import batches
    from ml.text.graphs import GRAIN

    def apart(budget: int) -> int:
        return len(list(batches(task.train, budget, random.Random(SEED), grain=GRAIN if CUDA else 1))) - task.steps

    low, high = 64, 2 * task.rows_a_step * WIDTH
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if apart(middle) > 0 else (low, middle)
    # steps do not fall evenly as the budget grows: the nearest may lie beside
    best = high if not apart(high) else min(range(high - NEAR, high + NEAR), key=lambda budget: abs(apart(budget)))
    return task.config.model_copy(update={"batch_tokens": best})


Side = Callable[[int], Any]


def in_turn(side: Side, kept: dict[int, Any]) -> Callable[[], Any]:
    """Runs of a side with one seed after the other; the last network of each seed stays in `kept`."""
    seeds = cycle(range(SEED, SEED + SEEDS))

    def run() -> Any:
        seed = next(seeds)
        kept[seed] = side(seed)
        return kept[seed]

    return run


def ours(task: Task) -> Side:
    """`ml.text.train.Trainer`, without its evaluations."""
    from ml.text.train import Trainer, seed_everything

    config = same_steps(task)

    class Bare(Trainer):
        def judge(self, rows: Sequence[Any]) -> float:
            return 0.0

    def run(seed: int) -> Any:
        seed_everything(seed)
        network = copy.deepcopy(task.start)
        found = Bare(network, config, pad=task.pad, seed=seed).fit(task.train, task.valid)
        if abs(found.steps - task.steps) > 1:
            raise AssertionError(f"{found.steps} steps, not {task.steps}")
        return network

    return run


def plain(network: Any, task: Task) -> Any:
    """The same network run by transformers' own BertModel, with its loss, as Trainer wants it."""
    from torch import nn

    from ml.text import model
    from ml.text.batches import balance

    classes, wanted = (found.to(DEVICE) for found in balance(task.train, task.config.class_weights))
    weights = task.config.weights

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, ids: Any, mask: Any, tags: Any, sentiment: Any, intent: Any, labels: Any) -> Any:
            inner = self.inner
            states = inner.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            shares = mask.unsqueeze(-1).to(states.dtype)
            (found,), *rest = inner.answer(states, [(states * shares).sum(1) / shares.sum(1)], mask)
            given = {"tags": tags, "sentiment": sentiment, "intent": intent}
            parts = model.losses(
                (found, *rest), given, model.totals([given], classes), class_weights=classes, intent_weight=wanted
            )
            shares = (weights.sentiment, weights.intent, weights.tags)
            return {"loss": sum(share * part for share, part in zip(shares, parts, strict=True))}

    return Plain()


def theirs(task: Task, *, tuned: bool) -> Side:
    """Hugging Face's Trainer with our parameter groups and schedule."""
    from torch.utils.data import Dataset
    from transformers import Trainer as HubTrainer
    from transformers import TrainingArguments, get_linear_schedule_with_warmup

    from ml.text import model
    from ml.text.batches import collate
    from ml.text.data import IGNORED, Encoded
    from ml.text.train import Trainer, in_bf16, seed_everything

    class Rows(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(task.train)

        def __getitem__(self, at: int) -> dict[str, Any]:
            return {"row": task.train[at], "input_ids": task.train[at].ids}

    def joined(given: list[dict[str, Any]]) -> dict[str, Any]:
        made = [item["row"] for item in given]
        if not tuned:
            made = [
                Encoded(
                    r.ids + [task.pad] * (WIDTH - len(r.ids)),
                    r.tags + [IGNORED] * (WIDTH - len(r.ids)),
                    r.sentiment,
                    r.intent,
                )
                for r in made
            ]
        tensors = collate(made, task.pad, torch.device("cpu"))
        tensors["mask"] = (tensors["ids"] != task.pad).long()
        return {**tensors, "labels": tensors["sentiment"]}

    def run(seed: int) -> Any:
        seed_everything(seed)
        network = copy.deepcopy(task.start)
        began = Trainer(network, task.config, pad=task.pad, seed=seed)
        began._standardize(task.train)
        config = task.config
        groups = model.parameter_groups(
            network, encoder_rate=config.encoder_rate, head_rate=config.head_rate, layer_decay=config.layer_decay,
            weight_decay=config.weight_decay,
        )  # fmt: skip
        optimizer = torch.optim.AdamW(groups, fused=True)
        schedule = get_linear_schedule_with_warmup(optimizer, max(1, int(config.warmup_share * task.steps)), task.steps)
        # where a processor only emulates bfloat16 it is several times slower than float32, and no tuning
        extra = {"bf16": in_bf16(config, DEVICE), "train_sampling_strategy": "group_by_length"} if tuned else {}
        with tempfile.TemporaryDirectory() as place:
            settings = TrainingArguments(
                place, per_device_train_batch_size=task.rows_a_step, num_train_epochs=1, save_strategy="no",
                report_to=[], disable_tqdm=True, logging_strategy="no", remove_unused_columns=False,
                use_cpu=not CUDA, seed=seed, **extra,
            )  # fmt: skip
            HubTrainer(
                plain(network, task), settings, train_dataset=Rows(), data_collator=joined,
                optimizers=(optimizer, schedule),
            ).train()  # fmt: skip
        return network

    return run


def peak() -> float:
    """Floating-point operations a second of a large product in bfloat16 on this card."""
    one, two = (torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        one @ two
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    for _ in range(10):
        one @ two
    ended.record()
    torch.cuda.synchronize()
    return 10 * 2 * 8192**3 / (began.elapsed_time(ended) / 1000)


def operations(task: Task) -> float:
    """Floating-point operations of one pass of training over the task's pieces: products and attention, thrice."""
    config = task.start.encoder.config
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    lengths = [len(row.ids) for row in task.train]
    products = 2 * (4 * hidden**2 + 2 * hidden * inner) * sum(lengths)
    attention = 4 * hidden * sum(length**2 for length in lengths)
    return 3.0 * layers * (products + attention)


def held_out(network: Any, task: Task) -> float:
    """Loss on the validation rows, in float32, by the weights of the training rows."""
    from ml.text.batches import balance
    from ml.text.train import Trainer

    judge = Trainer(network, task.config.model_copy(update={"precision": "fp32"}), pad=task.pad, seed=SEED)
    found = balance(task.train, task.config.class_weights)
    judge.class_weights, judge.intent_weight = (weights.to(DEVICE) for weights in found)
    return judge.judge(task.valid)


def agree(case: Case, task: Task, mine: dict[int, Any], peers: dict[int, Any]) -> None:
    """Print the held-out loss of each seed; raises AssertionError where the mean of ours is too high."""
    losses = [[held_out(network, task) for _, network in sorted(side.items())] for side in (mine, peers)]
    print(f"{case.name}: held-out losses ours {_said(losses[0])}, Trainer's {_said(losses[1])}", flush=True)
    if fmean(losses[0]) >= fmean(losses[1]) + TOLERANCE:
        raise AssertionError(f"{case.name}: the two sides do not agree")


def _said(losses: list[float]) -> str:
    return f"{fmean(losses):.4f} ({', '.join(f'{loss:.4f}' for loss in losses)})"


def main() -> None:
    """Measure and write `results/finetune.json`."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import transformers

    transformers.logging.set_verbosity_error()
    arguments, cases = parser(__doc__ or ""), CUDA_CASES if CUDA else CASES
    arguments.add_argument("--case", choices=[case.name for case in cases], help="this comparison alone")
    args = arguments.parse_args()
    torch.set_num_threads(THREADS)
    results: list[Result] = []
    top = peak() if CUDA else 0.0
    for case in [case for case in cases if args.case in (None, case.name)]:
        task = prepare(case, case.quick_rows if args.quick else case.rows)
        print(f"{len(task.train)} sentences, {task.pieces} pieces, {task.steps} steps", flush=True)

        mine, peers = dict[int, Any](), dict[int, Any]()
        sides = in_turn(ours(task), mine), in_turn(theirs(task, tuned=case.tuned), peers)
        rounds = 1 if args.quick else 3
        found = compare(case.name, *sides, rounds=rounds, same=None, work=task.pieces, unit="word pieces/s")
        if not case.base_shape:
            agree(case, task, mine, peers)
        results.append(found)
        if top:
            shares = [side * operations(task) / task.pieces / top for side in (found.ours, found.peer)]
            print(f"{case.name}: utilisation ours {shares[0]:.4f}, Trainer's {shares[1]:.4f} of {top:.3g}", flush=True)
            used = [found.ratio, found.low, found.high, *shares]
            results.append(Result(case.name.replace("finetune", "utilisation"), *used, "share of peak", found.machine))
        write("finetune_cuda" if CUDA else "finetune", results, quick=args.quick, others=args.case is not None)


if __name__ == "__main__":
    main()
