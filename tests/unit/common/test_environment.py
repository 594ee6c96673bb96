"""The environment: settings that are misspelt are noticed, and other programs' variables are not."""

from penstock.common.environment import describe_misspelt_variables, find_unknown_variables

KUBERNETES = ["PENSTOCK_PORT_8080_TCP_ADDR", "PENSTOCK_SERVICE_HOST", "PENSTOCK_SERVICE_PORT_HTTP"]
COMPOSE = ["PENSTOCK_VERSION", "PENSTOCK_REGISTRY", "PENSTOCK_BIND", "PENSTOCK_DATA"]


def test_a_misspelt_setting_is_named_with_the_one_that_was_meant() -> None:
    lines = list(describe_misspelt_variables(["PENSTOCK_MAX_PIXEL", "PENSTOCK_MAX_PIXELS", "MAX_PIXEL", "HOME"]))
    assert lines == ["PENSTOCK_MAX_PIXEL is not a setting and is ignored; did you mean PENSTOCK_MAX_PIXELS?"]


def test_variables_of_kubernetes_and_compose_are_not_taken_for_misspelt_settings() -> None:
    assert list(describe_misspelt_variables([*KUBERNETES, *COMPOSE])) == []


def test_every_variable_without_a_setting_is_found() -> None:
    assert find_unknown_variables(["PENSTOCK_UNHEARD_OF", "PENSTOCK_LOG_LEVEL", "PENSTOCK_STEPS", "PATH"]) == [
        "PENSTOCK_UNHEARD_OF"
    ]
