"""latency.py and plant_clock.py: durations counted in place, read as quantiles, sent as text, drawn as a picture."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpvp.control.latency import BINS, EDGES, LOWEST, STAGES, Histogram, Latencies
from dpvp.control.plant_clock import FORGETS, PlantClock
from dpvp.plan import Timings
from dpvp.view.latency_plot import draw_latencies

WIDTH = 10.0 ** (1.0 / 20.0)  # of a bin, as a factor
durations = st.floats(2.0 * LOWEST, 9.0)


def histogram_of(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


class TestHistogram:
    @given(st.lists(durations, min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
    def test_quantiles_are_those_of_the_values_to_a_bin(self, values: list[float], share: float) -> None:
        exact = float(np.quantile(values, share, method="inverted_cdf"))
        found = histogram_of(values).quantile(share)
        assert exact / WIDTH * (1 - 1e-9) <= found <= exact * WIDTH * (1 + 1e-9)

    @given(durations)
    def test_a_value_lies_between_the_edges_of_its_bin(self, value: float) -> None:
        (place,) = np.flatnonzero(histogram_of([value]).counts)
        assert EDGES[place] * (1 - 1e-9) <= value <= EDGES[place + 1] * (1 + 1e-9)

    @given(st.lists(durations, min_size=1), st.integers(1, 5))
    def test_equal_values_are_known_exactly(self, values: list[float], times: int) -> None:
        histogram = histogram_of(times * values[:1])
        assert histogram.quantile(0.5) == histogram.quantile(0.99) == histogram.longest == values[0]

    @pytest.mark.parametrize(
        ("value", "place"),
        [
            (-1.0, 0),
            (0.0, 0),
            (LOWEST, 0),
            (-math.inf, 0),
            (10.0, BINS + 1),
            (math.inf, BINS + 1),
            (math.nan, BINS + 1),
        ],
    )
    def test_what_is_beyond_the_scale_is_counted_at_its_ends(self, value: float, place: int) -> None:
        assert np.flatnonzero(histogram_of([value]).counts).tolist() == [place]

    def test_nothing_has_no_quantiles(self) -> None:
        assert math.isnan(Histogram().quantile(0.5))
        assert str(Histogram()) == ""

    @given(st.lists(st.floats(allow_nan=False), max_size=50))
    def test_text_and_back(self, values: list[float]) -> None:
        histogram = histogram_of(values)
        again = Histogram.parse(str(histogram))
        np.testing.assert_array_equal(again.counts, histogram.counts)
        assert again.longest >= min(histogram.longest, EDGES[-2]) * (1 - 1e-9)
        assert again.count == len(values)

    @given(st.lists(durations, max_size=20), st.lists(durations, min_size=1, max_size=20))
    def test_what_came_later(self, early: list[float], late: list[float]) -> None:
        since = histogram_of(early + late).since(histogram_of(early))
        np.testing.assert_array_equal(since.counts, histogram_of(late).counts)
        assert max(late) <= since.longest * (1 + 1e-9) <= max(late) * WIDTH * (1 + 1e-6)

    def test_counting_takes_no_memory(self) -> None:
        histogram, values = Histogram(), np.geomspace(1e-6, 20.0, 1000).tolist()
        histogram_of(values)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for value in values:
            histogram.add(value)
        assert tracemalloc.get_traced_memory()[0] - before < 256
        tracemalloc.stop()


class TestLatencies:
    def test_the_stages_of_a_plan_add_up(self) -> None:
        latencies = Latencies()
        latencies.add_plan(Timings(0.001, 0.004, 0.002), 0.010)
        report = latencies.report()
        found = {stage: report[f"latency_{stage}_ms_p50"] for stage in ("wait", "guess", "solve", "check")}
        assert found == {"wait": "3.000", "guess": "1.000", "solve": "4.000", "check": "2.000"}
        assert report["plan_ms_p50"] == report["plan_ms_p99"] == "7.000"

    def test_stages_that_did_not_happen_are_left_out(self) -> None:
        assert Latencies().report() == {"plan_ms_p50": "nan", "plan_ms_p99": "nan"}

    def test_every_stage_can_be_read_back(self) -> None:
        latencies = Latencies()
        for stage in STAGES:
            latencies.add(stage, 0.02)
        report = latencies.report()
        for stage in STAGES:
            assert Histogram.parse(report[f"latency_{stage}_histogram"]).count == 1
            assert report[f"latency_{stage}_ms_max"] == report[f"latency_{stage}_ms_p90"] == "20.000"

    def test_an_unknown_stage_is_a_mistake(self) -> None:
        with pytest.raises(KeyError):
            Latencies().add("nap", 0.1)


class TestPlantClock:
    """Stamps of the plant are 50 s behind our clock; messages take from 0.2 ms on."""

    @given(st.lists(st.floats(0.0002, 0.02), min_size=20, max_size=200))
    def test_ages_lack_the_quickest_way_only(self, ways: list[float]) -> None:
        clock, quickest = PlantClock(), math.inf
        for k, way in enumerate(ways):
            sent = 100.0 + 0.001 * k
            clock.hear(sent - 50.0, sent + way)
            quickest = min(quickest, way)
            assert clock.at(sent + 0.02) == pytest.approx(sent - 50.0 + 0.02 - quickest, abs=1e-9)

    def test_a_plant_that_fell_behind_is_believed_soon(self) -> None:
        """A world too slow for its rate loses time for good: ages must not carry that loss along for ever."""
        clock = PlantClock()
        for k in range(4000):
            now = 100.0 + 0.001 * k
            lost = 50.0 if k < 1000 else 51.0
            clock.hear(now - 0.0002 - lost, now)
            if k > 1001 + 2000 * FORGETS:
                assert clock.at(now) == pytest.approx(now - 51.0 - 0.0, abs=3e-4)

    def test_before_the_first_state(self) -> None:
        assert PlantClock().at(5.0) == -math.inf


def reports() -> dict[str, dict[str, str]]:
    rng, found = np.random.default_rng(0), {}
    for name, factor in (("ordinary", 3.0), ("real time", 1.0)):
        latencies = Latencies()
        for _ in range(300):
            latencies.add_plan(Timings(*(factor * rng.lognormal(-7.0, 0.3, 3))), 0.02)
            latencies.add("whole", factor * rng.lognormal(-5.0, 0.5))
        found[name] = latencies.report() | {
            "periods": "300",
            "missed": "30",
            "missed_share": "0.1",
            "missed_asleep": "9",
        }
    return found


class TestPicture:
    def test_runs_can_be_told_apart(self, tmp_path: Path) -> None:
        both = reports()
        draw_latencies(both, tmp_path / "both.png", period_ms=20.0)
        draw_latencies({"ordinary": both["ordinary"]}, tmp_path / "one.png", period_ms=20.0)
        two, one = (matplotlib.image.imread(tmp_path / f"{name}.png") for name in ("both", "one"))
        assert colours(two) > colours(one)

    def test_a_run_without_latencies_is_no_error(self, tmp_path: Path) -> None:
        draw_latencies({"old": {"periods": "0"}}, tmp_path / "old.png")
        assert matplotlib.image.imread(tmp_path / "old.png").size


def colours(picture: np.ndarray) -> int:
    """Return how many strong hues there are."""
    red, _, blue = (picture[:, :, k] for k in range(3))
    return int(np.any(blue - red > 0.5)) + int(np.any(red - blue > 0.5))
