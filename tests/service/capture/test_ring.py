"""The sample ring: however sound is chopped, the same samples are read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.capture.ring import SampleRing

CHUNKS = st.lists(st.integers(0, 40), max_size=30)


def filled(capacity: int, chunks: list[int]) -> SampleRing:
    """A ring into which the numbers from 0 on were written in those chunks."""
    ring = SampleRing(capacity, rate=1)
    for count in chunks:
        first = ring.end
        assert ring.write(np.arange(first, first + count, dtype=np.float32)) == first
    return ring


@given(st.integers(1, 50), CHUNKS)
def test_any_chopping_reads_the_same(capacity: int, chunks: list[int]) -> None:
    ring, total = filled(capacity, chunks), sum(chunks)
    assert ring.end == total
    assert ring.start == max(0, total - capacity)
    np.testing.assert_array_equal(ring.read(ring.start, ring.end), np.arange(ring.start, total))


@given(st.integers(1, 50), CHUNKS, st.data())
def test_any_part_that_is_kept_can_be_read(capacity: int, chunks: list[int], data: st.DataObject) -> None:
    ring = filled(capacity, chunks)
    start = data.draw(st.integers(ring.start, ring.end))
    end = data.draw(st.integers(start, ring.end))
    np.testing.assert_array_equal(ring.read(start, end), np.arange(start, end))


@given(st.integers(1, 50), CHUNKS)
def test_overwritten_and_future_samples_are_refused(capacity: int, chunks: list[int]) -> None:
    ring = filled(capacity, chunks)
    with pytest.raises(IndexError):
        ring.read(ring.start - 1, ring.end)
    with pytest.raises(IndexError):
        ring.read(ring.start, ring.end + 1)


def test_what_was_read_is_not_changed_by_later_writing() -> None:
    ring = filled(4, [4])
    read = ring.read(0, 4)
    ring.write(np.full(4, 9, np.float32))
    np.testing.assert_array_equal(read, [0, 1, 2, 3])
