"""Modules of the page that need no page, run in the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser_support import Server
from playwright.sync_api import Browser

from penstock.common.headers.file_types import SIGNATURES
from penstock.common.image_header import describe_type

RunModule = Callable[..., object]
"""Calls a function of a module with JSON arguments."""


@pytest.fixture(scope="module")
def run(browser: Browser, server: Server) -> Iterator[RunModule]:
    """Call a function of a module with JSON arguments."""
    script = """([module, name, args]) => {
      const given = args.map(each => each?.$bytes ? Uint8Array.from(each.$bytes) : each);
      return import(`/web/lib/${module}.js`).then(found => found[name](...given));
    }"""
    with browser.new_page(base_url=server.url) as page:
        page.goto("/")
        yield lambda module, name, *args: page.evaluate(script, [module, name, args])


def test_parts_of_cuts_have_their_positions(run: RunModule) -> None:
    assert [run("mosaic", "cellOf", index, [[2, 2], [2, 2]]) for index in (0, 1, 2, 3, 4, 15)] == [
        [0, 0], [1, 0], [0, 1], [1, 1], [2, 0], [3, 3],
    ]  # fmt: skip
    assert [run("mosaic", "cellOf", index, [[2, 1], [3, 2]]) for index in (0, 2, 3, 6, 11)] == [
        [0, 0], [2, 0], [0, 1], [3, 0], [5, 1],
    ]  # fmt: skip
    assert run("mosaic", "layOut", [{"width": 1, "height": 1}], [[2, 2]]) is None
    parts = [{"width": width, "height": height} for height in (5, 4) for width in (3, 3, 2)]
    assert run("mosaic", "layOut", parts, [[3, 2]]) == {"cells": parts, "columns": [3, 3, 2], "rows": [5, 4]}


def test_only_parts_that_join_are_put_together(run: RunModule) -> None:
    split, tile = {"op": "split", "enabled": True}, {"op": "tile", "columns": 3, "rows": 2, "overlap": 0}
    for operations, grids in (
        ([{"op": "split", "enabled": False}, split], [[2, 2]]),
        ([{"op": "rotate", "angle": 90}, split, tile], [[2, 2], [3, 2]]),
        ([split, {"op": "rotate", "angle": 90}], []),
        ([{**tile, "overlap": 9}], []),
        ([{"op": "tile", "width": 512, "height": 512}], []),
        ([{"op": "blur"}], []),
    ):
        assert run("mosaic", "gridsOf", operations) == grids


def test_durations_and_sizes_are_readable(run: RunModule) -> None:
    spans = {0.004: "4 ms", 3.25: "3.3 s", 59.9: "59 s", 61: "1 min 1 s", 7_320: "2 h 2 min", 90_000: "1 d 1 h"}
    assert {secs: run("format", "span", secs) for secs in spans} == spans
    assert run("format", "span", None) == "–"
    sizes = {0: "0 B", 999: "999 B", 1_500: "1.5 kB", 25_000_000: "25 MB"}
    assert {size: run("format", "bytes", size) for size in sizes} == sizes


def test_every_kind_of_parameter_has_a_field(run: RunModule) -> None:
    schema = {
        "properties": {
            "level": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
            "mode": {"$ref": "#/$defs/Mode"},
            "points": {"type": "array", "title": "Points"},
            "name": {"type": "string"},
            "exact": {"type": "boolean", "default": False},
        },
        "required": ["mode"],
        "$defs": {"Mode": {"enum": ["a", "b"], "title": "Mode"}},
    }
    fields = run("schema", "fieldsOf", schema)
    assert [field["kind"] for field in fields] == ["integer", "choice", "json", "text", "boolean"]
    assert [field["optional"] for field in fields] == [True, False, True, True, True]
    assert (fields[0]["min"], fields[1]["choices"], fields[1]["label"]) == (1, ["a", "b"], "Mode")
    assert run("schema", "startValues", {"parameters": schema, "example": None}) == {"mode": "a", "exact": False}
    assert run("schema", "readField", fields[2], "[1, 2]") == [1, 2]
    assert run("schema", "readField", fields[0], "") is None


def test_equal_names_are_numbered(run: RunModule) -> None:
    paths = ["a.jpg", "A.jpg", "caf\u00e9.jpg", "cafe\u0301.jpg", "odd", "x/b.PNG"]
    joined = run("files", "join", [{"path": "a.jpg", "name": "a.jpg"}], [{"path": path} for path in paths])
    assert [each["name"] for each in joined] == [
        "a.jpg", "a~2.jpg", "A~3.jpg", "caf\u00e9.jpg", "cafe\u0301~2.jpg", "odd", "x/b.PNG"
    ]  # fmt: skip


def test_files_are_in_natural_order(run: RunModule) -> None:
    paths = ["img10.jpg", "img2.jpg", "b/1.jpg", "a/10.jpg", "a/9.jpg"]
    joined = run("files", "join", [], [{"path": path} for path in paths])
    assert [each["name"] for each in joined] == ["a/9.jpg", "a/10.jpg", "b/1.jpg", "img2.jpg", "img10.jpg"]


def test_sidecars_are_paired_as_the_server_pairs_them(run: RunModule) -> None:
    names = [
        "x/a.jpg",
        "x/a.jpg.regions.json",
        "x/a.regions.json",
        "b.png",
        "b.regions.json",
        "c.regions.json",
        "d.jpg",
        "E.JPG",
        "e.jpg.Regions.json",
    ]
    paired = run("files", "pairSidecars", [{"name": name} for name in names])
    assert [(each["item"]["name"], (each["sidecar"] or {}).get("name")) for each in paired["images"]] == [
        ("x/a.jpg", "x/a.jpg.regions.json"), ("b.png", "b.regions.json"), ("d.jpg", None),
        ("E.JPG", "e.jpg.Regions.json"),
    ]  # fmt: skip
    assert [each["name"] for each in paired["alone"]] == ["x/a.regions.json", "c.regions.json"]


def test_a_multipart_message_is_read_by_lengths(run: RunModule) -> None:
    parts = [b"--b\r\nContent-Length: 6\r\nPenstock-Width: 3\r\n\r\n\r\n--b-", b"--b\r\ncontent-length: 0\r\n\r\n"]
    message = b"\r\n".join([*parts, b"--b--\r\n"])
    read = run("multipart", "readParts", {"$bytes": [*message]})
    assert [(each["headers"].get("penstock-width"), [*each["body"]]) for each in read] == [
        ("3", [*b"\r\n--b-"]), (None, []),
    ]  # fmt: skip


def test_the_page_names_a_file_as_the_server_does(run: RunModule) -> None:
    signatures = [
        {"name": each.name, "parts": [{"offset": offset, "bytes": part.hex()} for offset, part in each.parts]}
        for each in SIGNATURES
    ]
    heads = [
        b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\4\0\0\0WEBPVP8 ", b"II*\0\x08\0\0\0", b"GIF89a", b"%PDF-1.7",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
        b"\0\0\0\x18ftypmif1\0\0\0\0miafavif", b"\0\0\0\x18ftypisom\0\0\0\0mp42mp41",
        b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", b"II*\0\x10\0\0\0CR\2\0",
    ]  # fmt: skip
    assert [run("types", "nameOf", [*head], signatures) for head in heads] == [describe_type(head) for head in heads]
    assert run("types", "nameOf", [1, 2, 3], signatures) is None


def test_an_event_is_parsed_and_a_comment_is_ignored(run: RunModule) -> None:
    assert run("events", "parse", 'event: progress\ndata: {"a":\ndata: 1}\nid: 3') == ["progress", {"a": 1}]
    assert run("events", "parse", ": ping") is None


def test_exclusive_bounds_become_inclusive(run: RunModule) -> None:
    rules = {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10}
    fields = run("schema", "fieldsOf", {"properties": {"whole": rules, "part": {**rules, "type": "number"}}})
    assert [(field["min"], field["max"]) for field in fields] == [(1, 9), (0, 10)]


def test_a_stream_without_data_ends(browser: Browser, server: Server) -> None:
    with browser.new_page(base_url=server.url) as page:
        page.clock.install()
        page.goto("/")
        page.evaluate(
            """async () => {
              const {readEvents} = await import("/web/lib/events.js");
              const one = new TextEncoder().encode("event: progress\\ndata: 1\\n\\n");
              window.seen = [];
              const body = new ReadableStream({start: controller => controller.enqueue(one)});
              (async () => {
                for await (const event of readEvents(body)) window.seen.push(event);
                window.seen.push("ended");
              })();
            }"""
        )
        page.wait_for_function("() => window.seen.length === 1")
        page.clock.fast_forward(60_000)
        page.wait_for_function("() => window.seen.at(-1) === 'ended'")


def test_waiting_removes_its_listeners_from_the_signal(browser: Browser, server: Server) -> None:
    with browser.new_page(base_url=server.url) as page:
        page.goto("/")
        left = page.evaluate(
            """async () => {
              const {pause, withTimeout} = await import("/web/lib/waiting.js");
              const {signal} = new AbortController();
              const held = [];
              const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
              signal.addEventListener = (type, each) => (held.push(each), add(type, each));
              signal.removeEventListener = (type, each) => (held.splice(held.indexOf(each), 1), remove(type, each));
              await pause(1, signal);
              await withTimeout(1000, null, signal, () => pause(1, signal));
              await withTimeout(1, new Error("late"), signal, bounded => pause(60_000, bounded));
              return held.length;
            }"""
        )
        assert left == 0


def test_names_are_quoted_for_a_shell(run: RunModule) -> None:
    command = run("examples", "curlFor", {"operations": []}, [{"path": "it's;rm.jpg"}], "http://x")
    assert "-F 'files=@\"it'\\''s;rm.jpg\"'" in command


def test_values_that_the_server_assumes_by_itself_are_left_out(run: RunModule) -> None:
    schema = {"properties": {"fit": {"enum": ["fill", "inside"], "default": "fill"}, "width": {"type": "integer"}}}
    assert run("schema", "givenValues", schema, {"fit": "fill", "width": 5}) == {"width": 5}
    assert run("schema", "givenValues", schema, {"fit": "inside", "width": None}) == {"fit": "inside", "width": None}


def test_a_resize_is_shown_by_its_fit_and_size(run: RunModule) -> None:
    shown = {
        "resize 512×384": {"width": 512, "height": 384},
        "resize inside 512×384": {"width": 512, "height": 384, "fit": "inside"},
        "resize ×384": {"height": 384},
        "resize longest 800": {"longest": 800},
        "resize 50 %": {"percent": 50},
        "resize": {},
    }
    assert [run("format", "operationText", {"op": "resize", **fields}) for fields in shown.values()] == [*shown]


def test_folders_whose_names_differ_in_case_or_composition_are_numbered(run: RunModule) -> None:
    def joined(before: object, *paths: str) -> list[str]:
        found: Any = run("files", "join", before, [{"path": path} for path in paths])
        return [each["name"] for each in found]

    assert joined([], "N/A.jpg", "N/a.jpg", "n/a.jpg", "n/b/c.jpg") == [
        "N/A.jpg",
        "N/a~2.jpg",
        "n~2/a.jpg",
        "n~2/b/c.jpg",
    ]
    assert joined([], "cafe\u0301/x.jpg", "caf\u00e9/x.jpg", "caf\u00e9/x.jpg") == [
        "cafe\u0301/x.jpg",
        "caf\u00e9~2/x.jpg",
        "caf\u00e9~2/x~2.jpg",
    ]
    before = [{"path": "N/a.jpg", "name": "N/a.jpg"}, {"path": "n/a.jpg", "name": "n~2/a.jpg"}]
    assert joined(before, "n/c.jpg", "N/d.jpg") == ["N/a.jpg", "N/d.jpg", "n~2/a.jpg", "n~2/c.jpg"]
    assert joined([], "d.x/a", "D.X/b") == ["d.x/a", "D.X~2/b"]
