"""Route templates and their order."""

import pytest

from local.host.routes import Route, RouteError, RouteTable, parse_template


def table(*templates: str) -> RouteTable[str]:
    return RouteTable([Route(parse_template(template), None, template) for template in templates])


def found(table: RouteTable[str], path: str) -> str | None:
    match = table.find("GET", path)
    return match[0] if match else None


@pytest.mark.parametrize(
    ("template", "path", "parameters"),
    [
        ("api/a", "/api/a", {}),
        ("api/a", "/API/A", {}),
        ("api/a", "/api/a/", {}),
        ("api/a", "/api/a/b", None),
        ("api/{x}", "/api/Mixed Case", {"x": "Mixed Case"}),
        ("api/{x}", "/api/", None),
        ("api/{x?}", "/api", {}),
        ("api/{x?}", "/api/1", {"x": "1"}),
        ("api/{x=none}", "/api", {"x": "none"}),
        ("api/{x:int}", "/api/12", {"x": "12"}),
        ("api/{x:int}", "/api/twelve", None),
        ("api/{x:int}", "/api/99999999999", None),
        ("api/{x:int?}", "/api", {}),
        (
            "api/{x:guid}",
            "/api/8f14e45f-ceea-467f-ab1a-9c8a1f3d2b11",
            {"x": "8f14e45f-ceea-467f-ab1a-9c8a1f3d2b11"},
        ),
        ("api/{x:alpha:minlength(3)}", "/api/ab", None),
        ("api/{x:length(2,4)}", "/api/abc", {"x": "abc"}),
        ("api/{x:range(1,9)}", "/api/10", None),
        ("api/{x:regex(^a{{2}}/?$)}", "/api/aa", {"x": "aa"}),
        ("api/{x:regex(^a{{2}}/?$)}", "/api/a", None),
        ("api/{x:bool}", "/api/TRUE", {"x": "TRUE"}),
        ("api/{*rest}", "/api/a/b/c", {"rest": "a/b/c"}),
        ("api/{*rest}", "/api", {}),
        ("{*rest}", "/", {}),
    ],
)
def test_template_matches(template: str, path: str, parameters: dict[str, str] | None) -> None:
    assert parse_template(template).match(path) == parameters


@pytest.mark.parametrize(
    "template",
    [
        "a//b",
        "/a",
        "{a",
        "{a}{b}",
        "x-{a}",
        "{*a}/b",
        "{a?}/b",
        "{a}/{A}",
        "{}",
        "a?",
        "{a:datetime}",
        "{a:int(3)}",
    ],
)
def test_template_is_refused(template: str) -> None:
    with pytest.raises(RouteError):
        parse_template(template)


def test_literals_win_over_parameters_in_any_order_of_declaration() -> None:
    for routes in (table("api/{x}", "api/a"), table("api/a", "api/{x}")):
        assert found(routes, "/api/a") == "api/a"
        assert found(routes, "/api/A") == "api/a"
        assert found(routes, "/api/b") == "api/{x}"


def test_constraints_win_over_bare_parameters() -> None:
    routes = table("api/{x}", "api/{*all}", "api/{x:int}")
    assert found(routes, "/api/1") == "api/{x:int}"
    assert found(routes, "/api/one") == "api/{x}"
    assert found(routes, "/api/one/two") == "api/{*all}"


def test_between_a_parameter_and_a_catch_all_the_declaration_decides() -> None:
    assert found(table("api/{x}", "api/{*all}"), "/api/one") == "api/{x}"
    assert found(table("api/{*all}", "api/{x}"), "/api/one") == "api/{*all}"


def test_a_longer_template_with_an_optional_end_comes_before_the_shorter_one() -> None:
    assert found(table("api/a", "api/a/{x?}"), "/api/a") == "api/a/{x?}"


def test_another_method_falls_through_to_the_next_route() -> None:
    routes = RouteTable(
        [
            Route(parse_template("a"), frozenset({"POST"}), "literal"),
            Route(parse_template("{x}"), frozenset({"GET"}), "parameter"),
        ]
    )
    assert routes.find("GET", "/a") == ("parameter", {"x": "a"})
    assert routes.find("PUT", "/a") is None
