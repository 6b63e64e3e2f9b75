"""The HTML page in a real browser: at 1, 10 and 200 hosts, on a phone and on a desk, light and dark, and with hostile texts."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from difyfleet.fleet.results import RunResult
from difyfleet.report.html import page
from tests.browser.conftest import DARK, Chromium, Site
from tests.unit.report import fleets
from tests.unit.report.fleets import AT, EVIL

PHONE, DESK = 390, 1280
SIZES = (1, 10, 200)


def put(site: Site, name: str, result: RunResult) -> None:
    history = fleets.history(len(result.hosts))
    text = page(result, history, at=AT, inventory="inventory/prod.yml")
    (site.folder / f"{name}.html").write_text(text)


def measured(chromium: Chromium, site: Site, names: list[str], *options: str) -> dict[tuple[str, int], Any]:
    """What measure.js finds out about each page at both widths."""
    frames = "".join(
        f'<iframe name="{name}" src="{name}.html" style="width:{width}px;height:900px;border:0"></iframe>'
        for name in names
        for width in (PHONE, DESK)
    )
    script = (Path(__file__).parent / "measure.js").read_text()
    (site.folder / "frames.html").write_text(
        f"<!DOCTYPE html><link rel=icon href=data:,><script>{script}</script><body>{frames}"
    )
    dom, console = chromium.visit(f"{site.url}/frames.html", *options)
    assert console == []
    found = re.search(r'<pre id="measured">(.*?)</pre>', dom, re.DOTALL)
    assert found, "the pages did not load"
    return {(each["name"], each["width"]): each for each in json.loads(html.unescape(found[1]))}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_legible_on_a_phone_and_on_a_desk(scheme: str, chromium: Chromium, site: Site) -> None:
    for size in SIZES:
        put(site, str(size), fleets.fleet(size))
    all_of_it = measured(chromium, site, list(map(str, SIZES)), *([DARK] if scheme == "dark" else []))
    assert len(all_of_it) == 6
    for (name, width), seen in all_of_it.items():
        place = f"{name} hosts, {width} px"
        assert sorted(seen["hosts"]) == [f"llm-{number:03}" for number in range(1, int(name) + 1)], place
        assert seen["scroll"] <= width, f"{place}: scrolls sideways"
        assert seen["opened"] <= width, f"{place}: scrolls sideways when unfolded"
        assert seen["sticking"] == [], place
        assert seen["overlapping"] == 0, place
        assert seen["faint"] == [], place
        assert seen["small"] == [], place
        assert seen["marks"] == 0, f"{place}: marks too small to see"
        assert seen["texts"] > 40, place
        assert seen["folded"] == (164 if name == "200" else 0), place
        assert seen["scheme"] == ("rgb(21, 24, 27)" if scheme == "dark" else "rgb(252, 252, 250)")
        assert seen["resources"] == [], place
    assert sorted(set(site.asked)) == ["/1.html", "/10.html", "/200.html", "/frames.html"]


def test_alone_it_asks_for_nothing_and_says_nothing(chromium: Chromium, site: Site) -> None:
    put(site, "page", fleets.fleet(200))
    dom, console = chromium.visit(f"{site.url}/page.html")
    assert console == []
    assert site.asked == ["/page.html"]
    assert dom.count("llm-") > 200


def test_the_instruments_see_what_they_are_for(chromium: Chromium, site: Site) -> None:
    """A page with an image, a script that complains, and a line too wide for a phone."""
    bad = (
        "<!DOCTYPE html><body><img src='there.png'><script>console.error('boo')</script>"
        "<p style='width:500px;font-size:9px;color:#aaa;background:#fff'>faint</p>"
    )
    (site.folder / "bad.html").write_text(bad)
    _, console = chromium.visit(f"{site.url}/bad.html")
    assert any("boo" in line for line in console)
    assert "/there.png" in site.asked
    (site.folder / "bad.html").write_text(bad.replace("console.error('boo')", ""))
    seen = measured(chromium, site, ["bad"])["bad", PHONE]
    assert seen["scroll"] > PHONE
    assert [each["text"] for each in seen["faint"]] == ["faint"]
    assert [each["text"] for each in seen["small"]] == ["faint"]
    assert seen["sticking"]
    assert seen["resources"] == [f"{site.url}/there.png"]


def test_hostile_texts_do_nothing(chromium: Chromium, site: Site) -> None:
    result = fleets.fleet(3)
    evil = result.hosts[0]
    evil.name = EVIL + "x" * 300
    evil.error = "y" * 3000 + EVIL
    fleets.fail(evil, "docker", EVIL + "z" * 300, EVIL, EVIL)
    put(site, "evil", result)
    for seen in measured(chromium, site, ["evil"]).values():
        assert seen["images"] == 0
        assert seen["scripts"] == 0
        assert seen["resources"] == []
        assert seen["opened"] <= seen["width"]
        assert evil.name in seen["hosts"]
