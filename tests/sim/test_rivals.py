"""Rivals do what their documentation says, example by example."""

import pytest

from meshlb.sim.rivals import hpa, kpa, ray
from meshlb.sim.scale.autoscaler import Seen


class TestHpa:
    """kubernetes.io: Horizontal Pod Autoscaling."""

    def recommend(self, current, ready, mean, load=100.0, **params):
        return hpa.Hpa(hpa.Params(load=load, **params), 16).recommend(current, ready, mean * ready)

    def test_200m_of_100m_doubles_and_50m_halves(self):
        assert self.recommend(3, 3, 200.0) == 6
        assert self.recommend(4, 4, 50.0) == 2

    @pytest.mark.parametrize(("mean", "wanted"), [(109, 10), (91, 10), (111, 12), (89, 9)])
    def test_within_a_tenth_nothing_changes(self, mean, wanted):
        assert self.recommend(10, 10, mean) == wanted

    def test_pods_that_are_not_ready_count_as_idle_on_the_way_up(self):
        assert self.recommend(4, 2, 300.0) == 6
        assert self.recommend(6, 3, 300.0) == 9
        assert self.recommend(4, 2, 200.0) == 4  # with idle ones it is at the target
        assert self.recommend(4, 2, 150.0) == 4  # and here the direction would turn

    def settle(self, params, current, wanted, steps=8, every=15.0):
        scaler = hpa.Hpa(params, 16)
        found = []
        for step in range(steps):
            target = scaler.settle(current, wanted, step * every)
            if target != current:
                scaler._changes.append((step * every, target - current))
            current = target
            found.append(current)
        return found

    def test_upwards_four_pods_or_twice_in_15_seconds(self):
        assert self.settle(hpa.Params(), 1, 100) == [5, 10, 20, 40, 80, 100, 100, 100]

    def test_downwards_ten_percent_a_minute_from_80(self):
        """First 8 of 80, then 8 of 72 (7.2 rounded up); below 40 the four pods are more."""
        params = hpa.Params(down=hpa.Limits(pods=4, part=0.1, period_s=60.0))
        assert self.settle(params, 80, 10, 3, 60.0) == [72, 64, 57]
        assert self.settle(params, 40, 10, 3, 60.0) == [36, 32, 28]

    def test_downwards_the_most_of_300_seconds_counts(self):
        scaler = hpa.Hpa(hpa.Params(), 16)
        scaler.start(10)
        found = [scaler.settle(10, wanted, at) for at, wanted in ((15, 8), (150, 4), (301, 4))]
        assert found == [10, 10, 8]
        assert scaler.settle(8, 4, 330.0) == 4


class TestKpa:
    """knative.dev: Autoscaling; want = concurrency in the system / target of one pod."""

    def scaler(self, **params):
        return kpa.build(kpa.Params(**params), 100)

    def test_the_default_target_is_70_percent_of_the_containers(self):
        assert self.scaler().wanted(10, 700.0, 700.0, 0.0) == 10
        assert self.scaler().wanted(10, 701.0, 701.0, 0.0) == 11

    def test_it_panics_at_twice_the_ready_pods_and_never_falls_then(self):
        scaler = self.scaler(load=10.0)
        assert scaler.wanted(10, 100.0, 190.0, 0.0) == 10
        assert scaler.wanted(10, 100.0, 200.0, 2.0) == 20
        assert scaler.wanted(10, 100.0, 50.0, 4.0) == 20
        assert scaler.wanted(10, 100.0, 50.0, 62.0) == 20
        assert scaler.wanted(10, 100.0, 50.0, 64.0) == 10

    def test_it_at_most_halves_and_grows_a_thousandfold(self):
        assert self.scaler(load=10.0).wanted(10, 1.0, 1.0, 0.0) == 5
        assert self.scaler(load=1.0).wanted(1, 5000.0, 5000.0, 0.0) == 1000

    def test_with_several_pods_it_begins_in_panic(self):
        scaler = self.scaler(load=10.0)
        scaler.start(10)
        assert scaler.wanted(10, 20.0, 20.0, 2.0) == 10
        assert scaler.wanted(10, 20.0, 20.0, 62.0) == 5


class TestRay:
    """docs.ray.io: Advanced Ray Serve Autoscaling."""

    def test_two_replicas_at_one_request_each_grow_to_three(self):
        """The note's case: 30 calls/s of 100 ms are 3 in flight; with a target of 1 3 replicas."""
        assert ray.Ray(ray.Params(load=1.0)).desired(2, 3.0) == 3

    def test_a_factor_moderates_a_change(self):
        assert ray.Ray(ray.Params(load=1.0, upscaling_factor=0.5)).desired(10, 20.0) == 15
        assert ray.Ray(ray.Params(load=1.0, downscaling_factor=0.2)).desired(10, 8.0) == 10 - 1

    def changed_after(self, desired, target):
        scaler = ray.Ray(ray.Params())
        return next(s for s in range(1, 700) if scaler.settle(desired, target, 1.0) != target)

    def test_upwards_after_30_seconds_downwards_after_600(self):
        assert self.changed_after(5, 3) == 31
        assert self.changed_after(2, 3) == 601

    def test_a_decision_the_other_way_begins_anew(self):
        scaler = ray.Ray(ray.Params())
        assert {scaler.settle(5, 3, 1.0) for _ in range(30)} == {3}
        assert scaler.settle(2, 3, 1.0) == 3
        assert {scaler.settle(5, 3, 1.0) for _ in range(30)} == {3}
        assert scaler.settle(5, 3, 1.0) == 5

    def test_load_is_the_mean_of_records_of_30_seconds(self):
        scaler = ray.Ray(ray.Params(upscale_delay_s=0.0))
        found = []
        for now in range(1, 61):
            seen = Seen(1, 0, 0, 1, 2 if now <= 30 else 8, 0, 0.0, 0, 0, 0, 0.0, None)
            found.append(scaler.target(seen, float(now)))
        assert found[29] == 1
        assert max(found) == 4
        assert found.index(2) + 1 == 40
