"""The report in a real browser: sliders moved by mouse and keys, counts that Python counts too, the choice exported."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import chromium
import numpy as np
import pytest

from hydrapicker.cli import main
from hydrapicker.files import Particles, read_particles, write_combined_star, write_csv
from hydrapicker.inspection.inspect import InspectConfig, inspect

pytestmark = pytest.mark.skipif(
    chromium.PROGRAM is None, reason="no Chromium to show the report in: apt-get install chromium"
)

PIXEL, DIAMETER = 2.0, 40.0


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    with chromium.Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def file(shared_lab: Path) -> Path:
    """The report of picks.star, with a seventh micrograph that has no picks."""
    config = InspectConfig(shared_lab / "picks.star", shared_lab / "r.html", (str(shared_lab / "mics"),), DIAMETER)
    return inspect(config).out


@pytest.fixture
def page(browser: chromium.Browser, file: Path) -> Iterator[chromium.Browser]:
    browser.events.clear()
    browser.open(file)
    settle(browser)
    yield browser
    assert browser.complaints() == []


def settle(page: chromium.Browser) -> None:
    """Wait until every distance is worked through and two more frames are drawn."""
    frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
    page.run(frames)
    page.wait("!document.body.hasAttribute('data-working')")
    page.run(frames)


def value(page: chromium.Browser, name: str) -> float:
    return float(page.run(f"document.getElementById('{name}-number').value"))


def shown(page: chromium.Browser) -> dict[str, int]:
    """The count on every card, scrolled to so that it is drawn."""
    pairs = (
        "[...document.querySelectorAll('.card')].map(c => [c.querySelector('.name').title, c.querySelector('.count')"
    )
    return {name.split(" (")[0]: int(count) for name, count in page.run(f"{pairs}.textContent])")}


def total(page: chromium.Browser) -> tuple[int, int]:
    """Picks and micrographs of the summary."""
    numbers = [page.run(f"document.getElementById('total-{what}').textContent") for what in ("picks", "micrographs")]
    return int(numbers[0].replace(",", "")), int(numbers[1])


def counted(lab: Path, threshold: float, distance_angstrom: float = 0) -> dict[str, int]:
    """By a loop of its own: the best first, each against those kept before it."""
    counts = {str(lab / "mics" / "m5.mrc"): 0}
    for name, picks in read_particles(lab / "picks.star").items():
        kept: list[np.ndarray] = []
        for i in np.argsort(-picks.score, kind="stable"):
            place = picks.xy[i].astype(float)
            near = [np.sum((place - other) ** 2) < (distance_angstrom / PIXEL) ** 2 for other in kept]
            if picks.score[i] >= np.float32(threshold) and not any(near):
                kept.append(place)
        counts[name] = len(kept)
    return counts


def test_the_threshold_follows_the_mouse_and_the_keys(page: chromium.Browser, shared_lab: Path) -> None:
    start = value(page, "threshold")
    assert shown(page) == counted(shared_lab, start) == counted(shared_lab, -1)
    page.drag("#threshold", 0.02, 0.42)
    settle(page)
    dragged = value(page, "threshold")
    assert 0.3 < dragged < 0.5
    assert shown(page) == counted(shared_lab, dragged)
    assert total(page) == (sum(counted(shared_lab, dragged).values()), 7)
    assert total(page)[0] < sum(counted(shared_lab, start).values())
    page.key("ArrowRight", times=30)
    settle(page)
    assert value(page, "threshold") == pytest.approx(dragged + 0.03)
    assert shown(page) == counted(shared_lab, value(page, "threshold"))
    page.run(
        "document.getElementById('threshold-number').focus(); document.getElementById('threshold-number').select()"
    )
    for key in "0.35":  # a score that float32 holds a little lower
        page.send("Input.dispatchKeyEvent", type="char", text=key)
    settle(page)
    assert (value(page, "threshold"), shown(page)) == (0.35, counted(shared_lab, 0.35))


def test_the_distance_keeps_the_best_of_near_picks(page: chromium.Browser, shared_lab: Path) -> None:
    page.drag("#distance", 0.02, 0.5)
    page.drag("#threshold", 0.02, 0.3)
    settle(page)
    distance, threshold = value(page, "distance"), value(page, "threshold")
    assert 30 < distance < 50
    expected = counted(shared_lab, threshold, distance)
    assert shown(page) == expected
    assert total(page) == (sum(expected.values()), 7)
    assert sum(expected.values()) < sum(counted(shared_lab, threshold).values())


def test_the_exported_choice_gives_what_was_seen(
    page: chromium.Browser, shared_lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared_lab)
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.drag("#threshold", 0.02, 0.25)
    page.drag("#distance", 0.02, 0.35)
    page.click("#card-0 .mark")
    page.key("ArrowRight", times=2)
    page.key("b")
    page.key("ArrowRight")
    page.key(" ")
    page.key(" ")
    settle(page)
    page.click("#export")
    end = time.monotonic() + 20
    while not (tmp_path / "choice.json").exists() and time.monotonic() < end:
        time.sleep(0.05)
    choice = json.loads((tmp_path / "choice.json").read_text())
    names = sorted(counted(shared_lab, 0))
    assert choice == {
        "format_version": 1,
        "threshold": value(page, "threshold"),
        "min_distance_angstrom": value(page, "distance"),
        "excluded_micrographs": [names[0], names[2]],
    }
    picks, micrographs = total(page)
    assert micrographs == 5
    final = tmp_path / "final.star"
    assert main(["inspect", "picks.star", "--apply", str(tmp_path / "choice.json"), "--out", str(final)]) == 0
    written = {name: len(each.xy) for name, each in read_particles(final).items()}
    assert sum(written.values()) == picks > 0
    seen = {name: count for name, count in shown(page).items() if count and name not in choice["excluded_micrographs"]}
    assert written == seen


def test_micrographs_are_sorted_by_what_is_chosen(page: chromium.Browser, shared_lab: Path) -> None:
    counts, picks = counted(shared_lab, -1), read_particles(shared_lab / "picks.star")
    medians = {name: float(np.median(picks[name].score)) if name in picks else -1.0 for name in counts}
    expected = {
        "count-up": sorted(counts, key=lambda name: (counts[name], name)),
        "count-down": sorted(counts, key=lambda name: (-counts[name], name)),
        "median-down": sorted(counts, key=lambda name: (-medians[name], name)),
        "name": sorted(counts),
    }
    for option, names in expected.items():
        choose = f"s.value = '{option}'; s.dispatchEvent(new Event('change'))"
        page.run(f"(s => {{ {choose} }})(document.getElementById('sort'))")
        settle(page)
        assert list(shown(page)) == names, option


def test_the_keyboard_reaches_everything(page: chromium.Browser) -> None:
    focused = "document.activeElement.id"
    page.click("#card-1 .name")
    assert page.run(focused) == "card-1"
    columns = int(
        page.run("getComputedStyle(document.getElementById('gallery')).gridTemplateColumns.split(' ').length")
    )
    for key, expected in (("ArrowLeft", 0), ("ArrowDown", columns), ("ArrowUp", 0), ("End", 6), ("Home", 0)):
        page.key(key)
        assert page.run(focused) == f"card-{expected}", key
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert page.run("document.querySelectorAll('.card[tabindex=\"0\"]').length") == 1
    page.key("Enter")
    assert page.run("document.getElementById('large').open")
    page.key("ArrowRight")
    page.key("b")
    settle(page)
    assert page.run("document.getElementById('large-bad').getAttribute('aria-pressed')") == "true"
    assert page.run("document.getElementById('large-name').textContent").endswith("gone.mrc")
    page.key("Escape")
    page.wait(f"!document.getElementById('large').open && {focused} === 'card-1'")
    assert page.run("document.activeElement.getAttribute('aria-selected')") == "true"
    page.wait("document.activeElement.getAttribute('aria-label').includes('marked as bad')")


def test_circles_lie_on_the_picks_and_pictures_below_them(page: chromium.Browser, shared_lab: Path) -> None:
    """Of the one pick that is left on a micrograph: the middle of all that is drawn."""
    (index,) = [i for i, name in enumerate(sorted(counted(shared_lab, 0))) if name == "mics/m4.mrc"]
    picks = read_particles(shared_lab / "picks.star")["mics/m4.mrc"]
    best = picks.xy[np.argmax(picks.score)]
    middle = np.mean(np.sort(picks.score))
    page.run(f"state.threshold = {middle}; update()")
    settle(page)
    drawn = page.run(
        f"""(c => {{
            const {{ data, width, height }} = c.getContext("2d").getImageData(0, 0, c.width, c.height);
            const drawn = [];
            for (let i = 3; i < data.length; i += 4) if (data[i] > 60) drawn.push((i - 3) / 4);
            const columns = drawn.map(i => i % width), rows = drawn.map(i => Math.floor(i / width));
            return [Math.min(...columns), Math.min(...rows), Math.max(...columns), Math.max(...rows), width, height];
        }})(document.querySelector("#card-{index} canvas"))"""
    )
    left, top, right, bottom, width, height = drawn
    scale = width / 220
    assert height == pytest.approx(140 * scale, abs=1)
    assert ((left + right + 1) / 2 / scale - 0.5, (top + bottom + 1) / 2 / scale - 0.5) == pytest.approx(best, abs=1.0)
    assert right - left == pytest.approx(DIAMETER / PIXEL * scale, abs=3)
    page.wait(f"document.querySelector('#card-{index} img').naturalWidth > 0")
    page.run("document.getElementById('card-1').scrollIntoView()")
    settle(page)
    assert page.run("document.querySelector('#card-1 .name').title") == "mics/gone.mrc (no image)"
    assert page.run("document.querySelectorAll('#card-1 img').length") == 0


def test_hostile_names_and_picks_without_scores(browser: chromium.Browser, tmp_path: Path) -> None:
    name = "m/</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'><!--.mrc"
    write_csv(tmp_path / "h.csv", {name: Particles(np.ones((3, 2), np.float32))})
    config = InspectConfig(tmp_path / "h.csv", tmp_path / "h.html", (), DIAMETER, PIXEL)
    browser.events.clear()
    browser.open(inspect(config).out)
    settle(browser)
    assert browser.run("document.querySelector('.card .name').title") == f"{name} (no image)"
    assert (browser.run("typeof window.hacked"), browser.run("document.images.length")) == ("undefined", 0)
    assert browser.run("document.getElementById('threshold').disabled")
    browser.drag("#distance", 0.02, 0.4)
    settle(browser)
    assert total(browser) == (1, 1)
    assert browser.complaints() == []


def test_only_what_is_near_the_window_is_drawn(browser: chromium.Browser, tmp_path: Path) -> None:
    """500 micrographs: few canvases, also after a jump to the end."""
    picks = {
        f"m{i:03}.mrc": Particles(np.full((1 + i % 3, 2), 50, np.float32), np.ones(1 + i % 3, np.float32), PIXEL)
        for i in range(500)
    }
    write_combined_star(tmp_path / "p.star", picks, None)
    browser.open(inspect(InspectConfig(tmp_path / "p.star", tmp_path / "p.html", (), 20.0)).out)
    settle(browser)
    browser.click("#card-0 .name")
    browser.key("End")
    browser.wait("document.querySelectorAll('#card-499 canvas').length === 1")
    settle(browser)
    assert browser.run("document.querySelectorAll('#gallery canvas').length") < 60
    assert browser.run("document.querySelectorAll('#card-0 canvas').length") == 0
    assert browser.run("document.querySelector('#card-499 .count').textContent") == "2"
    assert total(browser) == (999, 500)
    assert browser.complaints() == []
