"""The reserve rule: load, rise, queue, and what is kept free."""

import pytest

from meshlb import plugins
from tests.policy.wants import inputs, one, seen


class TestReserve:
    def test_a_number_is_added_before_rounding_up(self):
        load = {"in_flight": seen(41.2)}
        want = one("reserve", inputs(signals=load), target=8, k=0.8)
        assert want.count == 6
        assert want.reason == "41.2 in flight / 8 a node + 0.8 spare"

    def test_square_root_staffing_counts_slots_not_nodes(self):
        # 64 busy servers need 8 more at beta 1: 8 slots are one node of 8, eight nodes of 1
        load = {"in_flight": seen(64)}
        assert one("reserve", inputs(signals=load), target=8).count == 9
        assert one("reserve", inputs(signals=load), target=1).count == 72

    def test_a_clear_rise_counts_for_the_start_up_time(self):
        given = inputs(signals={"in_flight": seen(40)}, growth={"in_flight": 0.5}, start_up_s=30.0)
        want = one("reserve", given, target=10)
        assert want.count == 6  # 40 + 0.5 x 30 = 55
        assert "rise of 30 s" in want.reason

    def test_a_forecast_takes_the_place_of_the_trend(self):
        given = inputs(
            signals={"in_flight": seen(40)},
            growth={"in_flight": 5.0},
            forecast={"in_flight": 62.0},
            start_up_s=30.0,
        )
        assert one("reserve", given, target=10).count == 7

    def test_a_service_at_rest_gets_no_reserve(self):
        at_rest = inputs(0, signals={"in_flight": seen(0.0, measured=1)})
        assert one("reserve", at_rest, target=8, k=2).count == 0
        awake = inputs(1, signals={"in_flight": seen(0.0, measured=1)})
        assert one("reserve", awake, target=8, k=2).count == 2

    def test_auto_is_a_part_of_the_slots(self):
        given = inputs(signals={"in_flight": seen(32)}, slots=16.0)
        assert one("reserve", given, k=0).count == 4
        assert one("reserve", given, k=0, fill=1.0).count == 2

    def test_a_rise_is_believed_to_a_part_of_the_load(self):
        given = inputs(signals={"in_flight": seen(40)}, growth={"in_flight": 9.0}, start_up_s=60.0)
        assert one("reserve", given, target=10).count == 6  # 40 + 0.3 x 40

    def test_calls_that_come_in_bursts_scatter_more(self):
        load = {"in_flight": seen(64)}
        single = inputs(signals=load, variance={"in_flight": 60.0})
        assert one("reserve", single, target=8).count == 9
        bursts = inputs(signals=load, variance={"in_flight": 64 * 16.0})  # by sixteen
        assert one("reserve", bursts, target=8).count == 12  # 4 x the reserve
        backlog = inputs(signals=load, variance={"in_flight": 1e9})
        assert one("reserve", backlog, target=8).count == 16

    @pytest.mark.parametrize(
        ("start_up_s", "in_flight", "count"),
        # 16 slots: 8 in flight are half a node, wanted 1; a surge fills up to 2.9
        [(None, 8, 2), (1.0, 8, 2), (1e9, 8, 3), (1e9, 16 * 9, 20)],
    )
    def test_a_surge_is_held_where_starts_are_long_and_nodes_few(
        self, start_up_s, in_flight, count
    ):
        load = {"in_flight": seen(in_flight)}
        given = inputs(signals=load, slots=16.0, start_up_s=start_up_s)
        want = one("reserve", given, target=8)
        assert want.count == count
        surges = start_up_s == 1e9 and in_flight == 8
        assert ("for a surge" in want.reason) is surges

    def test_no_surge_is_held_of_nodes_of_unknown_size_or_if_it_is_set_to_none(self):
        load = {"in_flight": seen(8)}
        unknown = inputs(signals=load, start_up_s=1e9)
        assert one("reserve", unknown, target=8).count == 2
        known = inputs(signals=load, slots=16.0, start_up_s=1e9)
        assert one("reserve", known, target=8, surge=0).count == 2
        half_busy = inputs(1, signals={"cpu": seen(0.5)}, start_up_s=1e9)
        assert one("reserve", half_busy, signal="cpu", target=0.8, beta=0).count == 3

    def flow(self, in_flight, rate, served, queued=0.0, service_s=2.0):
        signals = {"in_flight": seen(in_flight), "rate": seen(rate), "queued": seen(queued)}
        return inputs(10, signals=signals, service_s=service_s, served=served)

    def test_calls_that_come_are_the_load_once_their_time_is_known(self):
        # at 8 a node calls take as long as they are measured to, whatever is in flight now
        given = self.flow(in_flight=150.0, rate=40.0, served=8.0)
        want = one("reserve", given, target=8, k=0)
        assert want.count == 10
        assert want.reason == "40 calls/s x 2 s / 8 a node + 0 spare"

    def test_a_step_in_the_rate_counts_in_full_before_calls_pile_up(self):
        given = self.flow(in_flight=80.0, rate=160.0, served=8.0)
        assert one("reserve", given, target=8, k=0).count == 40

    def test_calls_are_slower_beside_more_and_the_load_is_that_at_the_target(self):
        crowded = self.flow(in_flight=240.0, rate=40.0, served=24.0, service_s=6.0)
        assert one("reserve", crowded, target=8, k=0).count == 15  # 40 x 3 s, not 40 x 6

    def test_a_queue_counts_by_what_it_takes_to_work_it_off(self):
        given = self.flow(in_flight=680.0, rate=40.0, served=8.0, queued=600.0)
        want = one("reserve", given, target=8, k=0)
        assert want.count == 13  # 80 + 600 x 2 s / 60 s = 100, and not 680
        assert "20 for 600 queued" in want.reason

    def test_calls_that_hang_or_take_long_are_a_load_too(self):
        hang = self.flow(in_flight=80.0, rate=0.0, served=8.0)
        assert one("reserve", hang, target=8, k=0).count == 5
        long = self.flow(in_flight=80.0, rate=0.1, served=8.0, service_s=300.0)
        assert one("reserve", long, target=8, k=0).count == 10

    def test_faults_come_all_at_once(self):
        module = plugins.load("meshlb.policy.rules", "reserve")
        faults = module.Params(signal="x", k=-1, beta=11, horizon_s="long").faults()
        assert len(faults) == 4
