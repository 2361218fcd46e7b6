"""Facts about the CPU LoRA operations, against a float64 reference and to the bit.

It builds the wrapper class directly; no engine runs here.
"""

import copy
from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("vllm")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.lora.layers import LoRAMapping

from serve.cpu_lora.grouping import FEW_ROWS, LONG_RUN, Span, Stack, group
from serve.cpu_lora.punica import GroupedPunicaWrapper

VOCABULARY = 512
SLOTS = 4
DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Case:
    """A step and a layer: slots of rows, inputs, base outputs and adapter weights."""

    slots: list[int]
    x: torch.Tensor
    y: torch.Tensor
    a: tuple[torch.Tensor, ...]
    b: tuple[torch.Tensor, ...]
    sizes: tuple[int, ...]

    def reference(self, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """The float64 result, and how far rounding may take each element from it."""
        expected, magnitude = self.y.double().clone(), self.y.double().abs()
        for row, slot in enumerate(self.slots):
            if slot < 0:
                continue
            start = 0
            for a, b, size in zip(self.a, self.b, self.sizes, strict=True):
                x, shrink, expand = self.x[row].double(), a[slot, 0].double(), b[slot, 0].double()
                columns = slice(start, start + size)
                expected[row, columns] += scale * (expand @ (shrink @ x))
                magnitude[row, columns] += abs(scale) * (expand.abs() @ (shrink.abs() @ x.abs()))
                start += size
        return expected, 4 * torch.finfo(self.y.dtype).eps * magnitude + 1e-30


def wrapper_for(slots: list[int], prompts: list[int] | None = None) -> GroupedPunicaWrapper:
    """A wrapper with the metadata of a step, slot n holding the adapter of id n + 1."""
    wrapper = GroupedPunicaWrapper(4096, max_batches=256, device="cpu")
    tell(wrapper, slots, prompts)
    return wrapper


def tell(wrapper: GroupedPunicaWrapper, slots: list[int], prompts: list[int] | None = None) -> None:
    mapping = LoRAMapping(
        tuple(slot + 1 for slot in slots),
        tuple(slot + 1 for slot in (slots if prompts is None else prompts)),
        is_prefill=True,
    )
    ids: list[int | None] = list(range(1, SLOTS + 1))
    wrapper.update_metadata(mapping, ids, SLOTS + 1, VOCABULARY)


def make_case(
    slots: list[int],
    *,
    seed: int = 0,
    width: int = 32,
    rank: int = 8,
    sizes: tuple[int, ...] = (24, 8, 8),
    dtype: torch.dtype = torch.float32,
    max_loras: int = SLOTS,
) -> Case:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random).to(dtype)

    y = draw(len(slots), sum(sizes))
    y[:, 0] = -0.0  # a sum with zero would lose the sign
    return Case(
        slots,
        x=draw(len(slots), width),
        y=y,
        a=tuple(draw(max_loras, 1, rank, width) for _ in sizes),
        b=tuple(draw(max_loras, 1, size, rank) for size in sizes),
        sizes=sizes,
    )


def run(case: Case, scale: float = 1.0) -> torch.Tensor:
    y = case.y.clone()
    a, b = copy.deepcopy((case.a, case.b))
    wrapper_for(case.slots).add_lora_linear(y, case.x, a, b, scale, case.sizes)
    return y


def same_bytes(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))


def runs_of_slots() -> st.SearchStrategy[list[int]]:
    """Index vectors as vLLM makes them: requests of one to many tokens, -1 among them."""
    request = st.tuples(st.integers(-1, SLOTS - 1), st.sampled_from((1, 1, 1, 2, 5, LONG_RUN, LONG_RUN + 9)))
    return st.lists(request, min_size=1, max_size=12).map(
        lambda requests: [slot for slot, length in requests for _ in range(length)]
    )


@settings(max_examples=120, deadline=None)
@given(
    slots=runs_of_slots(),
    seed=st.integers(0, 2**31),
    width=st.sampled_from((1, 16, 48)),
    rank=st.sampled_from((1, 8, 16)),
    sizes=st.sampled_from(((32,), (24, 8, 8), (40, 40), (1, 2, 3, 4))),
    scale=st.sampled_from((1.0, 0.5, -2.0)),
    dtype=st.sampled_from(DTYPES),
)
def test_every_row_gets_its_own_adapter_and_a_row_without_one_keeps_its_bytes(
    slots, seed, width, rank, sizes, scale, dtype
):
    case = make_case(slots, seed=seed, width=width, rank=rank, sizes=sizes, dtype=dtype)
    y = run(case, scale)
    expected, allowed = case.reference(scale)
    assert ((y.double() - expected).abs() <= allowed).all()
    base = torch.tensor(slots) < 0
    assert same_bytes(y[base], case.y[base])


@settings(max_examples=150, deadline=None)
@given(slots=runs_of_slots())
def test_a_plan_holds_every_row_with_an_adapter_exactly_once(slots):
    seen: list[int] = []
    plan = group(torch.tensor(slots))
    for block in plan.blocks:
        if isinstance(block, Span):
            seen += range(block.start, block.stop)
            assert {slots[row] for row in range(block.start, block.stop)} == {block.slot}
            continue
        rows = list(range(len(slots))) if block.rows is None else block.rows.tolist()
        seen += rows
        padded = block.padded.tolist()
        assert [padded[place] for place in block.positions.tolist()] == rows
        for place, row in enumerate(padded):
            assert slots[row] == block.first + place // block.depth
    assert sorted(seen) == [row for row, slot in enumerate(slots) if slot >= 0]
    if plan.few is None:
        assert not 0 < len(seen) <= FEW_ROWS
    else:
        owners = np.repeat(plan.few.slots, np.diff(plan.few.starts))
        assert [slots[row] for row in plan.few.rows] == owners.tolist()
        assert sorted(plan.few.rows.tolist()) == sorted(seen)


@settings(max_examples=40, deadline=None)
@given(slots=runs_of_slots(), broken=st.integers(0, SLOTS - 1), dtype=st.sampled_from(DTYPES))
def test_an_adapter_of_nan_spoils_only_its_own_rows(slots, broken, dtype):
    case = make_case(slots, dtype=dtype)
    for tensor in (*case.a, *case.b):
        tensor[broken] = float("nan")
    spoiled = run(case).isnan().any(dim=1)
    assert spoiled.tolist() == [slot == broken for slot in slots]


@pytest.mark.parametrize("max_loras", [1, 2, SLOTS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_without_adapters_changes_no_byte(max_loras, dtype):
    case = make_case([-1] * 9, dtype=dtype, max_loras=max_loras)
    assert same_bytes(run(case), case.y)
    assert not group(torch.tensor([-1] * 9))


def test_base_rows_next_to_the_only_adapter_keep_their_bytes():
    case = make_case([-1, 0, -1, 0, -1], max_loras=1)
    y = run(case)
    assert same_bytes(y[[0, 2, 4]], case.y[[0, 2, 4]])
    assert not torch.equal(y[[1, 3]], case.y[[1, 3]])


def test_a_reloaded_slot_is_used_at_once_and_a_cleared_one_adds_nothing():
    case = make_case([0, 1, 2])
    wrapper = wrapper_for(case.slots)
    y = case.y.clone()
    wrapper.add_lora_linear(y, case.x, case.a, case.b, 1.0, case.sizes)
    other = make_case([0, 1, 2], seed=7)
    for mine, its in zip((*case.a, *case.b), (*other.a, *other.b), strict=True):
        mine[1] = 0
        mine[1, 0, :4, :4].copy_(its[1, 0, :4, :4])
        mine[2] = 0
    y = case.y.clone()
    wrapper.add_lora_linear(y, case.x, case.a, case.b, 1.0, case.sizes)
    expected, allowed = case.reference()
    assert ((y.double() - expected).abs() <= allowed).all()
    assert torch.equal(y[2], case.y[2])


def test_a_slot_may_be_loaded_outside_of_inference_mode_after_a_step_in_it():
    case = make_case([0, 1])
    with torch.inference_mode():
        wrapper_for(case.slots).add_lora_linear(case.y.clone(), case.x, case.a, case.b, 1.0, case.sizes)
    for tensor in (*case.a, *case.b):
        tensor[1] = 0
        assert not tensor[1].any() and tensor[0].any()


def test_the_slices_hold_no_memory_except_the_fused_matrix():
    case = make_case([0, 1])
    wrapper_for(case.slots).add_lora_linear(case.y.clone(), case.x, case.a, case.b, 1.0, case.sizes)
    for parts in (case.a, case.b):
        storages = [part.untyped_storage() for part in parts]
        assert len({storage.data_ptr() for storage in storages}) == 1
        assert storages[0].nbytes() == sum(part.nbytes for part in parts)


def test_decode_of_mixed_adapters_is_one_stack_over_the_slots_in_use():
    (block,) = group(torch.tensor([2, 1, 2, 1, 2])).blocks
    assert isinstance(block, Stack)
    assert (block.first, block.count, block.depth, block.rows) == (1, 2, 3, None)


def test_unused_slots_between_used_ones_are_left_out():
    blocks = group(torch.tensor([0, 3, 0, 3])).blocks
    assert [(block.first, block.count) for block in blocks if isinstance(block, Stack)] == [
        (0, 1),
        (3, 1),
    ]


def test_one_adapter_alone_needs_no_gathering():
    assert group(torch.tensor([-1, 2, 2, 2])).blocks == (Span(2, 1, 4),)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_follow_the_sampled_rows_and_leave_the_padding(dtype):
    prompts = [1, -1, 0, 1]
    case = make_case(prompts, sizes=(40,), dtype=dtype)
    y = torch.cat([case.y, torch.full((4, 8), 3.0, dtype=dtype)], dim=1)
    wrapper_for([1] * 20, prompts).add_lora_logits(y, case.x, case.a[0], case.b[0], 1.0)
    expected, allowed = case.reference()
    assert ((y[:, :40].double() - expected).abs() <= allowed).all()
    assert (y[:, 40:] == 3.0).all() and same_bytes(y[1, :40], case.y[1])


def test_a_prompts_logits_follow_the_tokens_of_its_slice_of_the_step():
    slots = [-1] * 3 + [1] * 4 + [0] * 2
    step = make_case(slots, sizes=(40,))
    for part in (slice(0, 2), slice(3, 6), slice(7, 9), slice(0, 9)):
        case = Case(slots[part], step.x[part], step.y[part].clone(), step.a, step.b, step.sizes)
        y = case.y.clone()
        wrapper_for(slots, prompts=[-1, 1, 0]).add_lora_logits(y, case.x, case.a[0], case.b[0], 1.0)
        expected, allowed = case.reference()
        assert ((y.double() - expected).abs() <= allowed).all()


def test_rows_of_another_step_are_refused():
    case = make_case([0, 1, 2])
    with pytest.raises(ValueError, match="a plan of 2 rows was given 3 in and 3 out"):
        wrapper_for([0, 1]).add_lora_linear(case.y, case.x, case.a, case.b, 1.0, case.sizes)


def test_float32_logits_take_a_bfloat16_adapter():
    case = make_case([0, 1, -1], sizes=(40,), dtype=torch.bfloat16)
    for prompts in (case.slots, [0, 0, 0]):
        case = Case(prompts, case.x, case.y, case.a, case.b, case.sizes)
        y = case.y.float()
        wrapper_for(prompts).add_lora_logits(y, case.x, case.a[0], case.b[0], 1.0)
        expected, allowed = case.reference()
        assert y.dtype == torch.float32
        assert ((y.double() - expected).abs() <= allowed).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_embeddings_take_the_expand_half_alone(dtype):
    slots = [0, -1, 2, 0]
    case = make_case(slots, sizes=(32,), rank=8, width=8, dtype=dtype)
    identity = torch.eye(8, dtype=dtype).expand(SLOTS, 1, 8, 8)
    y = case.y.clone()
    wrapper_for(slots).add_lora_embedding(y, case.x, case.b[0], add_input=True)
    expected, allowed = Case(slots, case.x, case.y, (identity,), case.b, case.sizes).reference()
    assert ((y.double() - expected).abs() <= allowed).all()
    assert same_bytes(y[1], case.y[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_shrink_and_expand_apart_equal_the_whole(dtype):
    slots = [3, -1, 0, 0, 1, -1]
    case = make_case(slots, dtype=dtype)
    wrapper = wrapper_for(slots)
    hidden = torch.zeros(len(case.sizes), len(slots), 8)
    y = case.y.clone()
    wrapper.add_shrink(hidden, case.x, case.a, 1.0)
    wrapper.add_expand(y, hidden, case.b, case.sizes)
    expected, allowed = case.reference()
    assert ((y.double() - expected).abs() <= allowed).all()
    assert same_bytes(y[[1, 5]], case.y[[1, 5]]) and not hidden[:, [1, 5]].any()


def test_a_wrapper_follows_from_step_to_step():
    case = make_case([0, 1, -1, 2])
    wrapper = wrapper_for([2] * 70)
    for slots in ([0, 1, -1, 2], [-1] * 4, [1, 1, 1, 1]):
        tell(wrapper, slots)
        step = Case(slots, case.x, case.y, case.a, case.b, case.sizes)
        y = case.y.clone()
        wrapper.add_lora_linear(y, step.x, step.a, step.b, 1.0, step.sizes)
        expected, allowed = step.reference()
        assert ((y.double() - expected).abs() <= allowed).all()
