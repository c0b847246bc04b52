"""Methods of training: what they leave behind is served like any other, and nothing leaks from one step to the next."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from flashsale.errors import InputError
from ml.text import model
from ml.text.adapt import adapt, merge
from ml.text.batches import collate
from ml.text.checkpoint import Checkpoints, State
from ml.text.config import Adaptation, load_config
from ml.text.data import Encoded, Taught
from ml.text.encoder import dropped_and_added, encode
from ml.text.memory import attempt, is_memory
from ml.text.scorer import Scorer
from ml.text.train import Trainer, seed_everything
from tests.ml.text.test_training import _config, _rows

IDS = torch.tensor([[0, 5, 9, 12, 2], [0, 7, 2, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
METHODS = ("full", "lora", "adalora", "prefix", "adapters")


def test_encode_gives_what_transformers_gives(tiny_base: Path) -> None:
    bert = model.build(tiny_base).encoder.eval()
    with torch.no_grad():
        theirs = bert(input_ids=IDS, attention_mask=MASK).last_hidden_state
        ours = encode(bert, IDS, MASK)
        half = encode(bert, IDS, MASK, dtype=torch.bfloat16)
    assert torch.allclose(ours[MASK.bool()], theirs[MASK.bool()], atol=1e-5)
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float()[MASK.bool()], theirs[MASK.bool()], atol=0.1)


def test_encode_has_the_gradients_of_transformers(tiny_base: Path) -> None:
    found = []
    for run in (lambda b: b(input_ids=IDS, attention_mask=MASK).last_hidden_state, lambda b: encode(b, IDS, MASK)):
        torch.manual_seed(1)
        bert = model.build(tiny_base).encoder.eval()
        torch.autograd.backward([run(bert)[MASK.bool()].pow(2).sum()])
        found.append({name: value.grad for name, value in bert.named_parameters()})
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-4), name


def test_dropout_keeps_the_mean_and_its_gradient_is_its_mask() -> None:
    torch.manual_seed(0)
    x = torch.ones(400, 500, requires_grad=True)
    y = dropped_and_added(x, torch.zeros(400, 500), 0.1)
    y.sum().backward()
    dropped = float((y == 0).float().mean())
    assert dropped == pytest.approx(26 / 256, abs=0.003)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.005)
    assert x.grad is not None and torch.equal(x.grad, y.detach())
    rows = (y == 0).float()
    assert float(rows[:, 0].mean()) == pytest.approx(0.1, abs=0.06), "no column is favoured"


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_and_is_served_with_what_it_learnt(tiny_base: Path, tmp_path: Path, method: str) -> None:
    seed_everything(2)
    network = model.build(tiny_base)
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    config = _config(adapt=Adaptation(method=method, rank=4, prefix_tokens=3), epochs=6)
    history = Trainer(network, config, pad=1, seed=2).fit(_rows(tiny_base), _rows(tiny_base)[:10])
    assert history.evaluations[-1]["valid_loss"] < 0.8 * history.evaluations[0]["valid_loss"]
    network.eval()
    with torch.no_grad():
        wanted = network(IDS, MASK)
    folder = tmp_path / "model"
    model.save(network, tiny_base, folder, max_tokens=32)
    again = model.load(folder)
    served = Scorer(folder, precision="fp32")
    with torch.no_grad():
        for loaded, given, mine in zip(again(IDS, MASK), served.logits(IDS, MASK), wanted, strict=True):
            seen = MASK.bool() if mine.ndim == 3 else slice(None)
            assert torch.allclose(loaded[seen], mine[seen], atol=1e-5)
            assert torch.allclose(given[seen], mine[seen], atol=1e-4)
    same = [name for name, value in network.encoder.state_dict().items() if torch.equal(value, before.get(name, value))]
    word = "embeddings.word_embeddings.weight"
    assert (word in same) == (method != "full"), "methods leave the word embeddings alone"


@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_in_bfloat16(tiny_base: Path, method: str) -> None:
    seed_everything(2)
    config = _config(adapt=Adaptation(method=method, rank=4, prefix_tokens=3), precision="bf16", epochs=4)
    history = Trainer(model.build(tiny_base), config, pad=1, seed=2).fit(_rows(tiny_base), _rows(tiny_base)[:10])
    assert history.evaluations[-1]["valid_loss"] < history.evaluations[0]["valid_loss"]


@pytest.mark.parametrize("method", ["lora", "adapters"])
def test_melting_changes_no_answer(tiny_base: Path, method: str) -> None:
    torch.manual_seed(0)
    network = model.build(tiny_base)
    adapted = adapt(network, Adaptation(method=method, rank=4))
    with torch.no_grad():
        for value in network.parameters():
            if value.requires_grad:
                value.add_(0.05 * torch.randn_like(value))
    network.eval()
    with torch.no_grad():
        wanted = network.represent(IDS, MASK)[0]
        merge(network, adapted)
        found = network.represent(IDS, MASK)[0]
    assert torch.allclose(found[MASK.bool()], wanted[MASK.bool()], atol=1e-4)
    assert not any("lora" in name or "beside" in name for name in network.state_dict())


def test_adversarial_steps_put_the_embeddings_back(tiny_base: Path) -> None:
    network = model.build(tiny_base)
    words = network.word_embeddings()
    kept = words.detach().clone()
    words.grad = torch.randn_like(words)
    with model.moved_against(words, 0.5, words.grad):
        assert float((words - kept).norm()) == pytest.approx(0.5, rel=1e-3)
        assert torch.allclose((words - kept).detach() / 0.5, words.grad / words.grad.norm(), atol=1e-4)
    assert torch.equal(words.detach(), kept)


def test_adversarial_training_changes_what_is_learnt(tiny_base: Path) -> None:
    found = []
    for size in (0.0, 1.0):
        seed_everything(3)
        network = model.build(tiny_base)
        Trainer(network, _config(adversarial=size, epochs=2, dropout=0.0), pad=1, seed=3).fit(
            _rows(tiny_base), _rows(tiny_base)[:10]
        )
        found.append(network.sentiment.weight.detach().clone())
    assert not torch.equal(*found)


@pytest.mark.parametrize("changes", [{}, {"adapt": Adaptation(method="adalora", rank=4)}, {"adversarial": 0.5}])
def test_accumulated_batches_are_one_step(tiny_base: Path, changes: dict[str, object]) -> None:
    """Two batches a step, parted or not, give the gradients of their union."""
    rows, found = _rows(tiny_base)[:12], []
    for parts in ([rows], [rows[:5], rows[5:]]):
        seed_everything(1)
        trainer = Trainer(model.build(tiny_base), _config(dropout=0.0, **changes), pad=1, seed=1)
        trainer.class_weights, trainer.intent_weight = torch.tensor([1.0, 2.0, 0.5]), torch.ones(1)
        trainer._prepare(10)
        made = [collate(part, 1, trainer.device) for part in parts]
        loss = trainer._accumulate(made, trainer._totals(made))
        gradients = {n: value.grad.clone() for n, value in trainer.network.named_parameters() if value.grad is not None}
        found.append({"loss": loss, **gradients})
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-5), name


def test_out_of_memory_halves_the_batch_and_goes_on(tiny_base: Path) -> None:
    seed_everything(1)
    trainer = Trainer(model.build(tiny_base), _config(epochs=1), pad=1, seed=1)
    plain, widest = trainer.forward, []

    def narrow(ids: torch.Tensor, mask: torch.Tensor) -> object:
        if trainer.network.training and len(ids) > 4:
            raise torch.OutOfMemoryError("not enough memory for this batch")
        widest.append(len(ids)) if trainer.network.training else None
        return plain(ids, mask)

    trainer.forward = narrow
    history = trainer.fit(_rows(tiny_base), _rows(tiny_base)[:5])
    assert history.halvings >= 2 and max(widest) <= 4
    assert history.tokens == sum(len(row.ids) for row in _rows(tiny_base)), "no sentence was left out"

    def never(ids: torch.Tensor, mask: torch.Tensor) -> object:
        raise torch.OutOfMemoryError("not enough memory for anything")

    trainer.forward = never
    with pytest.raises(RuntimeError):
        trainer.fit(_rows(tiny_base), _rows(tiny_base)[:5])


def test_out_of_memory_halves_what_is_only_looked_at(tiny_base: Path) -> None:
    rows, found = _rows(tiny_base), []
    for most in (10**6, 3):
        seed_everything(1)
        trainer = Trainer(model.build(tiny_base), _config(epochs=1), pad=1, seed=1)
        plain, represent = trainer.forward, trainer.network.represent

        def narrow(ids: torch.Tensor, mask: torch.Tensor, plain=plain, most=most, trainer=trainer) -> object:  # type: ignore[no-untyped-def]
            if not trainer.network.training and len(ids) > most:
                raise torch.OutOfMemoryError("not enough memory for this batch")
            return plain(ids, mask)

        trainer.forward = narrow
        trainer.network.represent = partial(narrow, plain=represent)  # type: ignore[method-assign]
        trainer.class_weights, trainer.intent_weight = torch.tensor([1.0, 2.0, 0.5]), torch.ones(1)
        trainer._standardize(rows)
        found.append((trainer.judge(rows), trainer.network.piece_centre.clone(), trainer.parting.parts))
    (whole, centre, one), (halved, again, many) = found
    assert one == 1 and many >= 8 and halved == pytest.approx(whole, rel=1e-5)
    assert torch.allclose(centre, again, atol=1e-5)


@pytest.mark.parametrize("method", ["full", "adalora"])
def test_a_resumed_run_ends_where_an_unbroken_one_does(tiny_base: Path, tmp_path: Path, method: str) -> None:
    config = _config(epochs=3, checkpoint_every=2, adapt=Adaptation(method=method, rank=4))

    def run(folder: Path, stop_at: int | None) -> torch.nn.Module:
        seed_everything(5)
        network = model.build(tiny_base)
        trainer = Trainer(network, config, pad=1, seed=5, checkpoints=folder)
        if stop_at is not None:

            def watch(figures: dict[str, float], step: int) -> None:
                if step >= stop_at:
                    raise KeyboardInterrupt

            trainer.watch = watch
        trainer.fit(_rows(tiny_base), _rows(tiny_base)[:10])
        return network

    whole = run(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", 8)
    kept = sorted(path.name[:13] for path in (tmp_path / "broken").iterdir())
    assert kept == ["step-00000004", "step-00000006"], "the newest two, and nothing half-written"
    assert not list((tmp_path / "broken").rglob("*.p*kl")) and not list((tmp_path / "broken").rglob("*.pt"))
    resumed = run(tmp_path / "broken", None)
    for (name, one), two in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


def test_another_run_does_not_resume_from_it(tiny_base: Path, tmp_path: Path) -> None:
    """Another seed, base, label or teacher's answer makes another run; the same one goes on from its end."""
    rows = _rows(tiny_base)
    taught = [
        replace(r, taught=Taught(np.zeros(3, np.float32), 0.0, np.zeros((len(r.ids), 2), np.float32))) for r in rows
    ]
    other = [replace(taught[0], taught=replace(taught[0].taught, intent=1.0)), *taught[1:]]  # type: ignore[type-var]
    relabelled = [replace(rows[0], sentiment=1), *rows[1:]]

    def goes_on(seed: int, given: list[Encoded], moved: float, share: float) -> bool:
        seed_everything(seed)
        network = model.build(tiny_base)
        with torch.no_grad():
            network.word_embeddings()[5].add_(moved)
        config = _config(epochs=1, checkpoint_every=1, teacher_share=share)
        trainer = Trainer(network, config, pad=1, seed=seed, checkpoints=tmp_path)
        trainer.fit(given, given[:5])
        return all(value.grad is None for value in trainer.trained)  # no step was left to take

    assert not goes_on(5, rows, 0.0, 0.0)
    assert goes_on(5, rows, 0.0, 0.0)
    assert not goes_on(6, rows, 0.0, 0.0)
    assert not goes_on(6, rows, 0.1, 0.0)
    assert not goes_on(6, relabelled, 0.0, 0.0)
    assert not goes_on(6, taught, 0.0, 0.5)
    assert not goes_on(6, other, 0.0, 0.5)
    assert goes_on(6, other, 0.0, 0.5)


def test_checkpoints_of_another_run_are_left_alone(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    state = State({"a": torch.zeros(1)}, {}, {}, {"steps": 1})
    for step in (5000, 6000):
        kept.write("older-run", step, state)
    for step in (1, 2, 3):
        kept.write("this-run-", step, replace(state, history={"steps": step}))
    found = kept.newest("this-run-")
    assert found is not None and found.history == {"steps": 3}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "step-00000002-this-run",
        "step-00000003-this-run",
        "step-00005000-older-ru",
        "step-00006000-older-ru",
    ]


def test_what_did_not_fit_is_gone_before_the_next_try() -> None:
    class Large:
        pass

    seen: list[weakref.ref[Large]] = []

    def work() -> int:
        large = Large()
        seen.append(weakref.ref(large))
        raise torch.OutOfMemoryError("not enough memory")

    gc.collect()
    gc.disable()
    try:
        found, error = attempt(work)
        assert found is None and is_memory(error) and seen[0]() is None
    finally:
        gc.enable()
    with pytest.raises(RuntimeError, match="another"):
        attempt(partial(_raises, RuntimeError("another error")))


def _raises(error: Exception) -> None:
    raise error


def test_configurations_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    given = tmp_path / "odd.yaml"
    plain = (Path(model.__file__).parent / "configs" / "demo.yaml").read_text()
    given.write_text(plain + "\nadapt: {method: lora}\n")
    with pytest.raises(InputError, match="frozen_layers"):
        load_config(str(given))
    given.write_text(plain + "\nadversarial: 0.5\n")
    with pytest.raises(InputError, match="adversarial"):
        load_config(str(given))
    given.write_text(plain + "\nepochs: 2\n")
    with pytest.raises(InputError, match=r"odd\.yaml, row \d+: cannot be read .*'epochs' stands twice"):
        load_config(str(given))
    given.write_text("name: [x\n")
    with pytest.raises(InputError, match=r"odd\.yaml, row 2: cannot be read"):
        load_config(str(given))
    given.write_text(plain + "\naugment: {swaps: 0.1}\n")
    with pytest.raises(InputError, match="augment"):
        load_config(str(given))


def test_layers_are_kept_by_number(tiny_base: Path) -> None:
    whole = model.build(tiny_base)
    short = model.build(tiny_base, keep_layers=[1])
    kept = short.encoder.encoder.layer[0].output.dense.weight
    assert torch.equal(kept, whole.encoder.encoder.layer[1].output.dense.weight)
    assert short.encoder.config.num_hidden_layers == 1
    with pytest.raises(InputError, match="no layer 7"):
        model.build(tiny_base, keep_layers=[7])


def test_a_model_folder_with_another_weight_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    network = model.build(tiny_base)
    model.save(network, tiny_base, tmp_path / "m", max_tokens=32)
    note = tmp_path / "m" / "labels.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"max_tokens": 16}))
    with pytest.raises(ValueError, match="not what was saved"):
        model.load(tmp_path / "m")
