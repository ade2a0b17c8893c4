"""Numbered rows by who wrote them: which count, where they are, and what is written anew."""

from hypothesis import given
from hypothesis import strategies as st

from lifecycle.audit import fenced

counts = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 5)), max_size=6)


def spans_of(written: list[tuple[int, int]]) -> fenced.Spans:
    spans: fenced.Spans = []
    for epoch, count in sorted(written):
        fenced.add(spans, fenced.mark(epoch), count)
    return spans


@given(counts, st.integers(1, 7), st.integers(0, 30), st.integers(0, 30))
def test_windows_are_the_rows_between_in_order_each_of_one_lease(
    written: list[tuple[int, int]], size: int, first: int, stop: int
) -> None:
    spans = spans_of(written)
    keys = fenced.keys("f", spans)
    assert len(keys) == fenced.total(spans) == sum(count for _, count in written)
    assert [fenced.number_of(key) for key in keys] == list(range(len(keys)))
    everything = sorted({*keys, *fenced.keys("f", [["000009", 40]]), *fenced.keys("g", spans)})
    found: list[str] = []
    for start, end in fenced.windows("f", spans, size, first=first, stop=stop):
        some = [key for key in everything if start <= key < end]
        assert 0 < len(some) <= size
        found += some
    assert found == keys[first:stop]


@given(counts, st.sets(st.integers(0, 29)))
def test_what_is_written_anew_counts_in_place_of_what_was_there(
    written: list[tuple[int, int]], anew: set[int]
) -> None:
    spans = spans_of(written)
    before = fenced.keys("c", spans)
    numbers = sorted(number for number in anew if number < len(before))
    after = fenced.keys("c", fenced.rewritten(spans, numbers, "later"))
    assert after == [
        fenced.key("c", "later", number) if number in numbers else key for number, key in enumerate(before)
    ]
