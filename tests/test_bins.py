"""Counting events into bins: every event is in exactly one, however they are merged and cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflab.bins import BUCKETS, GROUPS, MOST, REST, Bins, buckets_of


def add(bins, seconds, labels=None, values=None):
    labels = labels or ["events"] * len(seconds)
    names = list(dict.fromkeys(labels))
    codes = np.array([names.index(label) for label in labels])
    bins.add(np.array(seconds, float), codes, names, None if values is None else np.array(values))


@pytest.mark.parametrize(
    "value, bucket",
    [(0, 0), (-5, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1023, 10), (1024, 11), (2**53 + 1, 54), (2**63 - 1, 63)],
)
def test_buckets(value, bucket):
    assert buckets_of(np.array([value])).tolist() == [bucket]


def test_the_last_bucket_of_u64():
    assert buckets_of(np.array([2**63, 2**64 - 1], "u8")).tolist() == [64, 64] and BUCKETS == 65


def test_values_that_are_no_whole_numbers():
    assert buckets_of(np.array([0.5, 1.5, float("nan"), float("inf"), -1.0])).tolist() == [0, 1, 0, 64, 0]


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=200), st.floats(0.01, 1))
def test_no_event_is_counted_twice_or_never(seconds, width):
    bins = Bins(width)
    for start in range(0, len(seconds), 7):
        part = seconds[start : start + 7]
        add(bins, part, [f"g{int(s) % 12}" for s in part], [int(s * 1000) for s in part])
    picture = bins.picture(0, max(seconds) + bins.width)
    assert picture.rate.sum() == picture.heat.sum() == picture.totals.sum() == len(seconds)
    assert picture.rate.shape == (len(picture.groups), picture.heat.shape[1]) and picture.rate.shape[1] <= 400


def test_an_event_is_where_its_time_is():
    bins = Bins(0.1)
    add(bins, [0.05, 0.15, 0.15, 2.0])
    picture = bins.picture(0, 2.1)
    assert picture.rate[0, 0] == 1 and picture.rate[0, 1] == 2 and picture.rate[0, 20] == 1
    later = bins.picture(1.5, 2.5)
    assert later.start == pytest.approx(1.5) and later.rate.sum() == 1


def test_a_long_run_gets_wider_bins():
    bins = Bins(0.1)
    add(bins, [1.0])
    add(bins, [MOST * 0.1 * 3])
    assert bins.width == pytest.approx(0.4)
    assert bins.picture(0, 2000).rate.sum() == 2


def test_the_largest_groups_and_the_rest():
    bins = Bins(0.1)
    add(bins, [0.0] * 55, [f"g{n}" for n in range(10) for _ in range(n + 1)])
    picture = bins.picture(0, 1, groups=4)
    assert picture.groups == ["g9", "g8", "g7", REST]
    assert picture.rate[:, 0].tolist() == [10, 9, 8, 28]


def test_too_many_groups_are_one():
    bins = Bins(0.1)
    add(bins, [0.0] * 1000, [f"g{n}" for n in range(1000)])
    assert len(bins.rows) == GROUPS + 1
    assert bins.rate[bins.rows[REST]].sum() == 1000 - GROUPS


def test_gaps():
    bins = Bins(0.1)
    bins.gap(1.0, 1.2, 5)
    bins.gap(1.25, 1.4, 3)
    bins.gap(3.0, 3.1, 1)
    assert bins.gaps == [(1.0, 1.4, 8), (3.0, 3.1, 1)]
    assert bins.picture(2, 4).gaps == [(3.0, 3.1, 1)]
    assert bins.picture(0, 4).missing.sum() == 9


@given(st.lists(st.tuples(st.floats(0, 900), st.floats(0, 50), st.integers(1, 10**6)), max_size=20), st.floats(0.01, 1))
def test_what_is_lost_is_spread_over_its_time(gaps, width):
    bins = Bins(width)
    for start, length, lost in gaps:
        bins.gap(start, start + length, lost)
    assert bins.missing.sum() == sum(lost for _, _, lost in gaps)
    assert sum(gap.lost for gap in bins.gaps) == sum(lost for _, _, lost in gaps)


def test_each_bin_has_its_share_of_a_gap():
    bins = Bins(0.1)
    bins.gap(0.25, 0.55, 300)
    assert bins.picture(0, 0.7).missing.tolist() == [0, 0, 50, 100, 100, 50, 0]
