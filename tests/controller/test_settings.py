"""meshlb.toml: what is right loads and shows, what is wrong is told, all of it at once."""

from pathlib import Path

import pytest

from meshlb import settings
from meshlb.errors import InvalidInputError

EXAMPLE = Path(__file__).parents[2] / "examples" / "meshlb.toml"


def test_nothing_is_required():
    assert settings.parse({}) == settings.Settings()


def test_a_service_has_its_own_and_the_rest_from_the_default():
    read = settings.parse(
        {
            "default": {"picker": "p2c", "forget_s": 30},
            "service": {"llama": {"picker": "least_request"}},
        }
    )

    assert (read.of("llama").picker, read.of("llama").forget_s) == ("least_request", 30)
    assert read.of("other").picker == "p2c"


def test_all_faults_are_told_with_key_value_and_range():
    with pytest.raises(InvalidInputError) as caught:
        settings.parse(
            {
                "controler": {},
                "controller": {"tick_s": 0, "listen": ""},
                "default": {"picker": "fastest", "subset_size": 0, "fresh_s": "soon"},
                "service": {"a b": {}, "x": {"colour": 1, "idempotent_methods": ["Ask"]}},
            }
        )

    told = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 9
    assert "controler = {}: not a key; known: access, controller, default, service" in told
    assert "controller.tick_s = 0: from 0.01 to 10" in told
    assert "default.picker = 'fastest': one of dynamic_weight, expected_delay" in told
    assert "default.subset_size = 0: a whole number from 1 to 10000" in told
    assert "default.fresh_s = 'soon': from 0.1 to 3600" in told
    assert "service.x.colour = 1: not a key; known: eject_after_failures" in told
    assert "service.x.idempotent_methods = ['Ask']: a list of" in told


def test_parameters_of_a_weight_are_checked_with_it():
    read = settings.parse({"default": {"weight": "orca", "weight_params": {"blackout_s": 0}}})
    assert read.default.weight_params == {"blackout_s": 0}

    with pytest.raises(InvalidInputError, match=r"weight_params\.blackout = 1: not a key"):
        settings.parse({"default": {"weight": "orca", "weight_params": {"blackout": 1}}})


def test_what_is_shown_loads_back(tmp_path):
    read = settings.parse(
        {
            "controller": {"listen": "127.0.0.1:1"},
            "service": {
                "a.b": {
                    "weight": "orca",
                    "weight_params": {"blackout_s": 1},
                    "idempotent_methods": ["/x.Y/Z", "/x.Y/"],
                    "max_in_flight": 30,
                    "priorities": {"critical": 0.25, "default": 0},
                }
            },
        }
    )
    path = tmp_path / "meshlb.toml"
    path.write_text(settings.to_toml(read))

    assert settings.load(path) == read


def test_the_example_that_the_docs_show_loads():
    read = settings.load(EXAMPLE)

    assert read.of("llama").idempotent_methods == ("/llama.Llama/Generate",)


@pytest.mark.parametrize(
    ("text", "told"), [("a = ", "valid TOML"), ("controller = 3", "controller = 3: a table")]
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, text, told):
    path = tmp_path / "x.toml"
    path.write_text(text)

    with pytest.raises(InvalidInputError, match=told):
        settings.load(path)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(InvalidInputError, match=r"'/no/such/file': a readable file"):
        settings.load("/no/such/file")


@pytest.mark.parametrize(
    "wrong", [3, {"a b": 0.1}, {"a": -0.1}, {"a": True}, {"a": "x"}, {"a": 0.6, "b": 0.5}]
)
def test_classes_of_calls_have_names_and_parts_of_one_whole(wrong):
    with pytest.raises(InvalidInputError, match=r"service\.s\.priorities = .*at most 1 together"):
        settings.parse({"service": {"s": {"priorities": wrong}}})


def test_limits_are_there_once_one_is_set():
    assert settings.ServiceSettings().limits(3) is None
    read = settings.parse(
        {"service": {"s": {"max_in_flight_per_node": 8, "priorities": {"b": 0.1, "a": 0}}}}
    )
    limits = read.of("s").limits(3)
    assert (limits.in_flight, limits.per_node, limits.waiting, limits.clients) == (None, 8, 100, 3)
    assert [(one.name, one.floor) for one in limits.priorities] == [("b", 0.1), ("a", 0.0)]
