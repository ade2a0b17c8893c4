"""Pages over a changing collection."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from local.dps.ordering import Ordering


def walk(order: Ordering[str], size: int) -> list[str]:
    seen: list[str] = []
    after, more = 0, True
    while more:
        page = order.page(after, size)
        assert len(page.values) == size or not page.more
        seen += page.values
        after, more = page.last, page.more
    return seen


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60),
    between=st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=20),
    size=st.integers(1, 7),
)
def test_what_stays_is_seen_once_whatever_changes_between_two_pages(
    steps: list[tuple[bool, int]], between: list[tuple[bool, int]], size: int
) -> None:
    order, model = Ordering[str](), dict[str, None]()

    def apply(changes: list[tuple[bool, int]]) -> set[str]:
        touched = set()
        for adds, number in changes:
            key = str(number)
            touched.add(key)
            if adds:
                order.put(key, key)
                model.setdefault(key)
            else:
                order.discard(key)
                model.pop(key, None)
        return touched

    apply(steps)
    assert list(order) == walk(order, size) == list(model)
    first = order.page(0, size)
    before = list(model)
    touched = apply(between)
    stable = [key for key in before if key not in touched]
    rest = order.page(first.last, 1000).values
    assert [key for key in (*first.values, *rest) if key in stable] == stable
    assert walk(order, size) == list(model)


def test_a_page_far_in_costs_no_more_than_the_first() -> None:
    order = Ordering[str]()
    for number in range(200_000):
        order.put(str(number), str(number))
    for number in range(100_000):
        order.discard(str(number))
    started = time.perf_counter()
    for _ in range(200):
        assert order.page(0, 100).values[0] == "100000"
        assert order.page(199_800, 100).values[0] == "199800"
    assert time.perf_counter() - started < 1
