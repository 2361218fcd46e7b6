"""Facts about replay: its loss is the divergence from the base model, it keeps its share, and it lessens forgetting."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from core.prompts import Chat
from retrain.trainer import train as trainer
from retrain.trainer.base_answers import MOST_TOKENS, base_answers, draw_answers, prompt_tokens, until_end
from retrain.trainer.batches import Example, replayed_per_step, replayed_rows
from retrain.trainer.general_prompts import HELD_OUT, KINDS, REPLAYED
from retrain.trainer.job import REPORT, Job, Report, Step
from retrain.trainer.loop import NO_EFFECT, identity_of
from retrain.trainer.objectives import Scored, Sft
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.rendering import Renderer
from retrain.trainer.replay import Forgetting, Replay, measure_forgetting, rows_per_pass
from retrain.trainer.scoring import score_tree
from tests.support.tiny_models import FAMILIES, make_tokenizer
from tests.unit.retrain.trainer.test_scoring import ROWS, adapted, gradients
from tests.unit.retrain.trainer.test_training import Killed, base, make_job, trained  # noqa: F401 — fixtures


def divergence_by_hand(model: Any, rows: Any) -> torch.Tensor:
    """Σ KL(base ‖ adapter) of each row alone, token by token, by the library's own arithmetic."""
    sums = []
    for row in rows:
        tokens, before = torch.tensor([row.tokens]), range(len(row.prompt) - 1, len(row.tokens) - 1)
        with torch.no_grad(), model.disable_adapter():
            p = model(input_ids=tokens).logits[0, list(before)].softmax(dim=-1)
        q = model(input_ids=tokens).logits[0, list(before)].softmax(dim=-1)
        sums.append((p * (p / q).log()).sum())
    return torch.stack(sums)


def test_the_loss_of_replay_is_the_divergence_from_the_base_model_by_hand():
    model, plain = adapted(FAMILIES["llama"]), adapted(FAMILIES["llama"], fast=False)
    replay = Replay(ROWS, share=0.25, batch_size=3 * len(ROWS), seed=0)
    rows = replay.of_step(0)
    assert sorted(rows, key=repr) == sorted(ROWS, key=repr)
    expected = divergence_by_hand(plain, rows).sum() / sum(len(row.answer) for row in rows)
    (0.25 * expected).backward()
    assert replay.backward(model, 0) == pytest.approx(expected.item(), rel=1e-4)
    assert expected.item() > 0.01
    theirs = gradients(plain)
    assert any(float(grad.abs().max()) > 1e-4 for grad in theirs.values())
    for name, grad in gradients(model).items():
        assert torch.allclose(grad, theirs[name], atol=1e-6), name


def test_a_step_has_its_own_gradient_and_that_of_replay_by_their_shares():
    model = adapted(FAMILIES["llama"])
    scored, examples = Scored(model, score_tree), [Example((row,)) for row in ROWS]
    replay = Replay(ROWS, share=0.25, batch_size=4, seed=0)
    loss, whole = Sft().backward(scored, examples, [0, 2]), gradients(model)
    replay.backward(model, 1)
    kept = gradients(model)
    assert Sft().backward(scored, examples, [0, 2], 0.75) == pytest.approx(loss)
    replay.backward(model, 1)
    for name, grad in gradients(model).items():
        assert torch.allclose(grad, 0.75 * whole[name] + kept[name], atol=1e-6), name


@pytest.mark.parametrize(
    ("share", "batch", "each"), [(0.0, 8, 0), (0.05, 8, 1), (0.1, 8, 1), (0.2, 8, 2), (0.25, 8, 3), (0.1, 32, 4)]
)
def test_a_step_has_replayed_rows_by_their_share(share: float, batch: int, each: int):
    assert replayed_per_step(share, batch) == each


def test_replay_passes_over_all_rows_before_one_comes_again():
    steps = [replayed_rows(step, 7, 3, seed=1) for step in range(14)]
    numbers = [n for step in steps for n in step]
    assert [sorted(numbers[first : first + 7]) for first in range(0, 42, 7)] == [list(range(7))] * 6
    assert numbers[:7] != numbers[7:14]
    assert steps != [replayed_rows(step, 7, 3, seed=2) for step in range(14)]


def test_no_held_out_prompt_is_replayed_and_each_kind_has_both():
    assert len(set(REPLAYED)) == len(REPLAYED) == 96
    assert len(set(HELD_OUT)) == len(HELD_OUT) == 36
    assert not set(REPLAYED) & set(HELD_OUT)
    assert all(not set(kind.replayed) & set(kind.held_out) for kind in KINDS)


@pytest.mark.parametrize("config", [FAMILIES["llama"], FAMILIES["gemma3"]])
def test_the_base_model_answers_at_random_but_always_the_same(config: Any):
    model = adapted(config, fast=False)
    renderer = Renderer(make_tokenizer(), 100)
    prompts = prompt_tokens(renderer, HELD_OUT[-3:])
    # What a base model's folder may have: it would make all answers the likeliest ones.
    model.get_base_model().generation_config = GenerationConfig(do_sample=True, top_k=1, repetition_penalty=2.0)
    torch.manual_seed(5)
    before, found = torch.get_rng_state(), draw_answers(model, prompts, renderer.ends)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.mul_(-3.0)
    assert draw_answers(model, prompts, renderer.ends) == found
    assert [one.prompt for one in found] == prompts
    assert all(1 <= len(one.answer) <= MOST_TOKENS for one in found)
    with model.disable_adapter(), torch.no_grad():
        likeliest = [int(model(input_ids=torch.tensor([one.prompt])).logits[0, -1].argmax()) for one in found]
    assert [one.answer[0] for one in found] != likeliest


def test_an_answer_has_its_first_end_and_nothing_behind_it():
    assert until_end([5, 6, 9, 8, 9], (8, 9)) == (5, 6, 9)
    assert until_end([5, 6], (9,)) == until_end([5, 6], ()) == (5, 6)


def test_a_base_model_without_a_template_gets_plain_prompts():
    renderer = Renderer(make_tokenizer(template=""), 100)
    chat = Renderer(make_tokenizer(), 100)
    (plain,), (rendered,) = prompt_tokens(renderer, ["Why?"]), prompt_tokens(chat, ["Why?"])
    assert rendered == chat.prompt(Chat((("user", "Why?"),)))
    assert plain and plain != rendered


def test_answers_of_a_file_are_used_again_and_only_for_the_same_prompts(tmp_path: Path):
    model, renderer, file = (
        adapted(FAMILIES["llama"]),
        Renderer(make_tokenizer(), 100),
        tmp_path / "answers" / "replayed.json",
    )
    found = base_answers(model, renderer, HELD_OUT[:2], base=tmp_path, file=file)
    known = file.read_text()
    file.write_text(known.replace(f'"answer": [{found[0].answer[0]}', '"answer": [77'))
    assert base_answers(model, renderer, HELD_OUT[:2], base=tmp_path, file=file)[0].answer[0] == 77
    (tmp_path / "config.json").write_text("another model")
    assert base_answers(model, renderer, HELD_OUT[:2], base=tmp_path, file=file) == found
    other = base_answers(model, renderer, HELD_OUT[1:3], base=tmp_path, file=file)
    assert other[0].prompt == found[1].prompt and len(other) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"identity": 1}'])
def test_a_damaged_file_of_answers_is_written_anew(tmp_path: Path, content: str):
    model, renderer, file = adapted(FAMILIES["llama"]), Renderer(make_tokenizer(), 100), tmp_path / "held-out.json"
    found = base_answers(model, renderer, HELD_OUT[:2], base=tmp_path, file=file)
    file.write_text(content)
    assert base_answers(model, renderer, HELD_OUT[:2], base=tmp_path, file=file) == found
    assert [path.name for path in tmp_path.iterdir()] == ["held-out.json"]


def test_answers_are_the_same_on_another_day(tmp_path: Path):
    def renderer(day: int) -> Renderer:
        tokenizer = make_tokenizer()
        tokenizer.chat_template = f"Day {day}. {tokenizer.chat_template}"  # as strftime_now writes it
        return Renderer(tokenizer, 200)

    model, file = adapted(FAMILIES["llama"]), tmp_path / "answers" / "held-out.json"
    found = base_answers(model, renderer(1), HELD_OUT[:2], base=tmp_path, file=file)
    assert base_answers(model, renderer(2), HELD_OUT[:2], base=tmp_path, file=file) == found


@pytest.mark.parametrize(("vocabulary", "rows"), [(49_152, 8), (151_936, 2), (262_144, 1), (10_000_000, 1), (64, 8)])
def test_a_pass_has_fewer_rows_where_the_vocabulary_is_large(vocabulary: int, rows: int):
    assert rows_per_pass(24, vocabulary) == rows


def report_of(job: Job) -> Report:
    found = Report.read(Path(job.output) / REPORT)
    assert found
    return found


@pytest.mark.parametrize("after", [1, 9])
def test_a_training_with_replay_that_continues_gives_the_same_adapter(
    make_job: Callable[..., Job],  # noqa: F811 — the fixture
    after: int,
    monkeypatch: pytest.MonkeyPatch,
):
    undisturbed, _ = trained(make_job("undisturbed", replay=0.2))
    job = make_job("killed", replay=0.2, checkpoint_s=0.0)

    def report(step: Step) -> None:
        if step.done == after + 1:
            raise Killed

    with pytest.raises(Killed):
        trainer.train(job, report)
    # Answers that were drawn again could be others, for example on another number of threads.
    others = [TokenSequence(row.prompt, (77,)) for row in ROWS]
    monkeypatch.setattr("retrain.trainer.base_answers.draw_answers", lambda *_: others)
    continued, steps = trained(job)
    assert steps[0].done == after + 1
    assert continued == undisturbed


def test_other_answers_of_the_base_model_begin_a_training_anew(make_job: Callable[..., Job]):  # noqa: F811
    job = make_job("killed", replay=0.2, checkpoint_s=0.0)
    trained(job)
    (Path(job.output) / trainer.REPLAYED_FILE).unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retrain.trainer.base_answers.SEED", 9)
        _, steps = trained(job)
    assert steps[0].done == 1


def test_without_replay_no_general_prompt_has_a_part_in_the_training(
    make_job: Callable[..., Job],  # noqa: F811 — the fixture
    monkeypatch: pytest.MonkeyPatch,
):
    measured, steps = trained(make_job("measured"))
    monkeypatch.setattr(trainer, "forgetting_of", lambda *_: None)
    monkeypatch.setattr(
        trainer, "base_answers", lambda *_, **__: pytest.fail("a training without replay asks for answers")
    )
    job = make_job("unmeasured")
    assert trained(job)[0] == measured
    assert report_of(job).forgetting is None
    assert "replay_kl" not in steps[-1].metrics


@pytest.mark.parametrize("fault", [torch.OutOfMemoryError("no memory"), OSError("disk full"), None])
def test_a_training_is_not_lost_if_forgetting_cannot_be_measured(
    make_job: Callable[..., Job],  # noqa: F811 — the fixture
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Exception | None,
):
    def measure(*_: Any) -> Forgetting:
        if fault:
            raise fault
        return Forgetting(math.nan, None, None, 36, 700)

    monkeypatch.setattr(trainer, "measure_forgetting", measure)
    job = make_job(epochs=1.0)
    trained(job)
    assert report_of(job).forgetting is None and report_of(job).rows
    assert "Forgetting was not measured" in capsys.readouterr().out


def test_a_checkpoint_of_before_there_was_replay_continues(make_job: Callable[..., Job]):  # noqa: F811
    job = make_job()
    kept = {name: value for name, value in asdict(job).items() if name not in (*NO_EFFECT, "replay")}
    assert identity_of(job, []) == hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    assert identity_of(replace(job, replay=0.1), []) != identity_of(job, [])


def test_an_adapter_that_learnt_nothing_forgot_nothing(make_job: Callable[..., Job]):  # noqa: F811
    job = make_job()
    model = trainer.load_model(job.base, dtype=torch.float32, rank=4, seed=0)
    found = measure_forgetting(model, ROWS)
    assert found.value == pytest.approx(0.0, abs=1e-6)
    assert (found.prompts, found.tokens) == (len(ROWS), sum(len(row.answer) for row in ROWS))


def test_forgetting_is_the_mean_of_all_tokens_by_hand():
    model = adapted(FAMILIES["llama"])
    by_hand = divergence_by_hand(adapted(FAMILIES["llama"], fast=False), ROWS).sum()
    found = measure_forgetting(model, ROWS)
    assert found.value == pytest.approx(float(by_hand.detach()) / found.tokens, rel=1e-4)


def test_replay_lessens_forgetting(make_job: Callable[..., Job]):  # noqa: F811
    plain, replayed = make_job("plain", epochs=10.0), make_job("replayed", epochs=10.0, replay=0.25)
    (_, before), (_, after) = trained(plain), trained(replayed)
    forgot, kept = report_of(plain).forgetting, report_of(replayed).forgetting
    assert forgot and kept and forgot["prompts"] == kept["prompts"] == 6
    assert forgot["low"] < forgot["value"] < forgot["high"]
    assert 0 < kept["value"] < 0.7 * forgot["value"]
    assert after[-1].metrics["loss"] < before[0].metrics["loss"] - 1
    assert after[0].metrics["replay_kl"] == pytest.approx(0.0, abs=1e-6)
    assert after[-1].metrics["replay_kl"] > 0


def test_a_trial_of_a_search_replays_and_does_not_measure_forgetting(make_job: Callable[..., Job]):  # noqa: F811
    job = make_job(replay=0.1, scores=2, epochs=1.0)
    trained(replace(job, answers=job.output, output=f"{job.output}/trials/0"))
    assert (Path(job.output) / trainer.REPLAYED_FILE).is_file()
    assert not (Path(job.output) / trainer.HELD_OUT_FILE).exists()
    report = Report.read(Path(job.output) / "trials" / "0" / REPORT)
    assert report and report.forgetting is None
