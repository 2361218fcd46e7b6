"""Facts about the spool: what it reads back after any damage, and what a full disk changes."""

import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import spool
from core.errors import SpoolFull
from core.spool import Frame, Frames, SpoolWriter, frame, read_frames, read_from, segments
from tests.support.spool import half_write, no_space, payloads_of, whole

payloads = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
quick = settings(deadline=None, max_examples=60)


@quick
@given(payloads, st.data())
def test_any_cut_of_a_segment_yields_a_prefix_of_whole_frames(items: list[bytes], data: st.DataObject) -> None:
    text = b"".join(map(frame, items))
    cut = data.draw(st.integers(0, len(text)))
    found = payloads_of(text[:cut])
    ends = [sum(len(frame(p)) for p in items[: n + 1]) for n in range(len(items))]
    assert found == items[: sum(end <= cut for end in ends)]


@quick
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6), st.data())
def test_a_flipped_byte_is_never_parsed(items: list[bytes], data: st.DataObject) -> None:
    text = bytearray(b"".join(map(frame, items)))
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= data.draw(st.integers(1, 255))
    found = payloads_of(bytes(text))
    assert found == items[: len(found)]
    assert len(found) < len(items)


RECORDS = [b'{"kind":"a","text":"one"}', b'[{"kind":"b"},{"kind":"c"}]', b'{"kind":"d"}', b'{"kind":"e","x":"{}"}']


@quick
@given(st.data())
def test_a_flipped_byte_of_a_finished_segment_costs_its_frame_alone(data: st.DataObject) -> None:
    pieces = [frame(payload) for payload in RECORDS]
    hit = data.draw(st.integers(0, len(pieces) - 2))  # at the end it is like a torn tail
    damaged = bytearray(pieces[hit])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    text = b"".join([*pieces[:hit], bytes(damaged), *pieces[hit + 1 :]])
    found = read_frames(text, finished=True)
    begin = len(b"".join(pieces[:hit]))
    assert [one.payload for one in found.whole] == [*RECORDS[:hit], *RECORDS[hit + 1 :]]
    assert found.damaged == [range(begin, begin + len(damaged))]
    assert found.end == len(text)


def test_a_damaged_length_waits_for_the_rest_until_its_segment_is_finished() -> None:
    first, second = frame(RECORDS[0]), frame(RECORDS[2])
    text = first[:2] + b"\x01" + first[3:] + second  # 65,536 bytes longer than it is
    assert read_frames(text) == Frames([], [], 0)
    found = read_frames(text, finished=True)
    assert [one.payload for one in found.whole] == [RECORDS[2]] and found.damaged == [range(0, len(first))]


@quick
@given(st.binary(max_size=200))
def test_noise_is_read_without_an_error(noise: bytes) -> None:
    assert read_frames(noise).end <= len(noise)
    assert read_frames(noise, finished=True).end <= len(noise)


def test_a_new_writer_never_appends_to_an_old_segment(tmp_path: Path) -> None:
    first = SpoolWriter(tmp_path)
    first.append(b"one")
    first.close()
    torn = segments(tmp_path)[0].path
    torn.write_bytes(torn.read_bytes() + b"torn")
    before = torn.read_bytes()
    second = SpoolWriter(tmp_path)
    second.append(b"two")
    second.close()
    assert torn.read_bytes() == before
    assert whole(tmp_path) == [b"one", b"two"]


def test_numbers_never_repeat_after_the_folder_is_emptied(tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(5):
        writer = SpoolWriter(tmp_path)
        seen.append(writer.current)
        writer.close()
        for segment in segments(tmp_path):
            segment.path.unlink()
    assert seen == sorted(set(seen))


def test_numbers_go_on_when_the_clock_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SpoolWriter(tmp_path)
    first.close()
    monkeypatch.setattr(spool.time, "time_ns", lambda: 1000)
    second = SpoolWriter(tmp_path)
    second.close()
    assert second.current == first.current + 1


def test_a_segment_rolls_when_it_is_large_enough(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=30)
    for number in range(10):
        writer.append(b"payload %d" % number)
    writer.close()
    assert len(segments(tmp_path)) == 5  # two frames of 17 bytes in each
    assert whole(tmp_path) == [b"payload %d" % number for number in range(10)]


@pytest.mark.parametrize("write", [half_write, no_space])
def test_a_full_disk_leaves_no_torn_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(SpoolFull, match="takes no more bytes"):
            writer.append(b"refused")
    assert writer.refused == 1
    writer.append(b"after")
    writer.close()
    assert whole(tmp_path) == [b"before", b"after"]


def test_when_not_even_the_torn_frame_can_be_cut_off_the_next_one_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half_write)
        patch.setattr(os, "ftruncate", no_space)
        with pytest.raises(SpoolFull):
            writer.append(b"refused")
    writer.append(b"after")
    writer.close()
    assert len(segments(tmp_path)) == 2
    assert whole(tmp_path) == [b"before", b"after"]


def test_a_disk_that_takes_no_new_segment_is_spool_full_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=1)
    writer.append(b"before")
    number = writer.current
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_space)
        for _ in range(3):
            with pytest.raises(SpoolFull):
                writer.append(b"refused")
    assert writer.current == number  # else a shipper would take the open segment for a finished one
    writer.append(b"after")
    writer.close()
    assert whole(tmp_path) == [b"before", b"after"]


def test_a_record_longer_than_a_reader_takes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_PAYLOAD", 10)
    writer = SpoolWriter(tmp_path)
    with pytest.raises(SpoolFull, match="longer than the spool takes"):
        writer.append(b"x" * 11)
    writer.append(b"x" * 10)
    writer.close()
    assert whole(tmp_path) == [b"x" * 10]


def test_zeros_that_a_power_cut_left_are_no_frames() -> None:
    for finished in (False, True):
        assert read_frames(frame(b"one") + bytes(64), finished=finished) == Frames([Frame(b"one", 0, 11)], [], 11)


def test_a_writer_on_a_full_disk_refuses_each_record_until_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SpoolWriter(tmp_path)
    old.append(b"old")
    old.close()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_space)
        writer = SpoolWriter(tmp_path)
        assert writer.current > segments(tmp_path)[-1].number  # what is there is finished: shipping frees space
        for _ in range(2):
            with pytest.raises(SpoolFull, match="takes no more bytes"):
                writer.append(b"refused")
    assert writer.refused == 2
    writer.append(b"new")
    writer.close()
    assert whole(tmp_path) == [b"old", b"new"]
    assert segments(tmp_path)[-1].number == writer.current


@quick
@given(st.lists(st.integers(-10_800_000_000, 10_800_000_000), min_size=1, max_size=8))
def test_order_stands_however_the_clock_jumps(jumps: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder, now = Path(name), time.time_ns()
        for number, jump in enumerate(jumps):  # microseconds, up to three hours
            patch.setattr(spool.time, "time_ns", lambda at=now + jump * 1000: at)
            writer = SpoolWriter(folder)
            writer.append(b"%d" % number)
            writer.close()
        assert whole(folder) == [b"%d" % number for number in range(len(jumps))]


def test_a_piece_for_shipping_holds_at_least_its_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "1.seg"
    path.write_bytes(frame(b"a" * 100) + frame(b"b"))
    assert payloads_of(read_from(path, 0, 10)) == [b"a" * 100]
    assert payloads_of(read_from(path, 0, 1000)) == [b"a" * 100, b"b"]
    assert payloads_of(read_from(path, 108, 1000)) == [b"b"]
    assert read_from(path, 117, 10) == b""


def test_a_spool_at_its_limit_refuses_until_segments_are_deleted(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=100, max_bytes=250)
    while len(segments(tmp_path)) < 2:
        writer.append(b"x" * 60)
    writer.append(b"x" * 60)
    with pytest.raises(SpoolFull, match="limit of 250 bytes"):
        writer.append(b"x" * 60)
    segments(tmp_path)[0].path.unlink()
    writer.append(b"y")
    writer.close()
    assert whole(tmp_path)[-1] == b"y" and writer.spooled_bytes() <= 250
