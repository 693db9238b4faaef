"""The report's file: what is embedded, that nothing from a file becomes markup, and how large it may be."""

import base64
import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from hydrapicker.cli import main
from hydrapicker.errors import InvalidInputError
from hydrapicker.files import Particles, read_particles, write_box, write_combined_star, write_csv
from hydrapicker.inspection.inspect import InspectConfig, InspectReport, inspect
from hydrapicker.inspection.thumbnail import ThumbnailSize, thumbnail
from hydrapicker.picking.record import PickingRecord

PIXEL, DIAMETER, SHAPE = 2.0, 40.0, (140, 220)
HOSTILE = "mics/</script><img src=x onerror=alert(1)><!--<script>'\"&\u2028é.mrc"


class Page(HTMLParser):
    """Elements and the text of scripts by id, as a browser's tokenizer finds them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, text: str) -> None:
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        if tag == "script":
            self.scripts.setdefault(attributes.get("id") or "program", text)

    @property
    def data(self) -> dict:
        return json.loads(self.scripts["data"])

    def picks(self) -> dict[str, np.ndarray]:
        numbers = np.frombuffer(base64.b64decode(self.scripts["picks"]), "<f4").reshape(-1, 3)
        ends = np.cumsum([each["picks"] for each in self.data["micrographs"]])
        return dict(zip([each["name"] for each in self.data["micrographs"]], np.split(numbers, ends[:-1]), strict=True))

    def image(self, index: int) -> np.ndarray:
        with Image.open(io.BytesIO(base64.b64decode(self.scripts[f"image-{index}"]))) as picture:
            assert picture.format == "JPEG"
            return np.asarray(picture).astype(float)


def report(picks: str, **options: object) -> tuple[InspectReport, Page]:
    found = inspect(InspectConfig(Path(picks), **({"diameter_angstrom": DIAMETER} | options)))
    return found, Page(found.out)


def test_every_micrograph_has_its_own_image_and_all_its_picks(lab: Path) -> None:
    found, page = report("picks.star", micrographs=("mics",))
    given = read_particles("picks.star")
    names = [each["name"] for each in page.data["micrographs"]]
    assert names == sorted([*given, "mics/m5.mrc"])
    assert (found.micrographs, found.of, found.picks) == (7, 7, sum(len(each.xy) for each in given.values()))
    for name, numbers in page.picks().items():
        picks = given.get(name)
        order = [] if picks is None else np.argsort(-picks.score, kind="stable")
        expected = np.zeros((0, 3)) if picks is None else np.column_stack([picks.xy, picks.score])[order]
        np.testing.assert_array_equal(numbers, expected)
    for index, each in enumerate(page.data["micrographs"]):
        assert (each["width"], each["height"], each["diameterPx"]) == (SHAPE[1], SHAPE[0], DIAMETER / PIXEL)
        if each["name"] == "mics/gone.mrc":
            assert (each["image"], f"image-{index}" in page.scripts) == (False, False)
            continue
        picture = page.image(index)
        quarters = [picture[: 140 // 2, : 220 // 2], picture[: 140 // 2, 220 // 2 :]]
        quarters += [picture[140 // 2 :, : 220 // 2], picture[140 // 2 :, 220 // 2 :]]
        dark = int(np.argmin([quarter.mean() for quarter in quarters]))
        assert dark == int(each["name"][-5]) % 4  # as conftest drew it
    assert found.notes == ("1 micrographs are not where the picks name them, shown on grey: give --micrographs",)


def test_names_from_files_never_become_markup(lab: Path) -> None:
    file = "<b>'&.csv"
    write_csv(file, {HOSTILE: Particles(np.ones((1, 2), np.float32), np.ones(1, np.float32))})
    assert list(read_particles(file)) == [HOSTILE]
    found, page = report(file, pixel_size_angstrom=PIXEL)
    tags = [tag for tag, _ in page.elements]
    assert (tags.count("img"), tags.count("b"), tags.count("script")) == (0, 0, 3)
    assert [each["name"] for each in page.data["micrographs"]] == [HOSTILE]
    title = re.findall("<title>(.*)</title>", found.out.read_text())
    assert [html.unescape(text) for text in title] == [f"Picks: {file}"]


def test_the_file_needs_nothing_else(lab: Path) -> None:
    _, page = report("picks.star")
    for tag, attributes in page.elements:
        assert not {"src", "srcset", "data", "action"} & attributes.keys(), tag
        assert attributes.get("href", "#gallery") == "#gallery"
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    (policy,) = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert not re.search(r"https?://|fetch\(|XMLHttp|import\(|localStorage|eval\(", page.scripts["program"])


def test_a_folder_of_pick_gives_all_picks_and_how_they_were_made(lab: Path) -> None:
    Path("out").mkdir()
    Path("picks.star").rename("out/all_picks.star")
    write_combined_star("out/picks.star", {}, PIXEL)
    given = read_particles("out/all_picks.star")
    PickingRecord("any", 3, 0.4, 0.01, 24.0, 50.0, (*given, "mics/m5.mrc")).write(Path("out"))
    found, page = report("out", diameter_angstrom=None)
    assert found.picks == sum(len(each.xy) for each in given.values())
    assert (page.data["threshold"], page.data["pickedThreshold"]) == (0.4, 0.4)
    assert page.data["micrographs"][0]["diameterPx"] == 50.0 / PIXEL
    assert page.data["origin"] == "head any version 3, particle diameter 50 Å"
    assert [each["picks"] for each in page.data["micrographs"] if each["name"] == "mics/m5.mrc"] == [0]
    with pytest.raises(InvalidInputError, match="names no micrograph"):
        report("out/picks.star")


def test_the_diameter_and_the_pixel_size_are_asked_for_where_nothing_tells_them(lab: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"picks\.star does not state .* --diameter-angstrom"):
        report("picks.star", diameter_angstrom=None)
    write_combined_star("nowhere.star", {"a.mrc": Particles(np.ones((1, 2), np.float32))}, None)
    with pytest.raises(InvalidInputError, match=r"pixel size of a\.mrc is not known"):
        report("nowhere.star")
    _, page = report("nowhere.star", pixel_size_angstrom=4.0)
    assert (page.data["scored"], page.data["threshold"]) == (False, None)
    assert page.data["micrographs"][0]["diameterPx"] == 10


def test_box_files_and_a_tiff_count_rows_from_below(lab: Path) -> None:
    tifffile.imwrite("t.tif", np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.uint8))
    write_combined_star("t.star", {"t.tif": Particles(np.ones((1, 2), np.float32), np.ones(1, np.float32))}, PIXEL)
    _, page = report("t.star")
    assert (page.data["micrographs"][0]["rowsFromBelow"], page.data["micrographs"][0]["image"]) == (True, True)
    write_box("boxes/m1.box", np.ones((3, 2), np.float32), 20)
    _, page = report("boxes", micrographs=("mics/m1.mrc",))
    assert [(each["name"], each["image"], each["picks"]) for each in page.data["micrographs"]] == [("m1", True, 3)]


def test_of_too_many_micrographs_some_are_shown(lab: Path) -> None:
    found, page = report("picks.star", most_micrographs=3)
    assert (found.micrographs, found.of) == (3, 6)
    assert [each["name"] for each in page.data["micrographs"]] == ["mics/gone.mrc", "mics/m1.mrc", "mics/m4.mrc"]


def test_a_damaged_micrograph_is_shown_on_grey_and_said(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mics/m0.mrc").write_bytes(Path("mics/m0.mrc").read_bytes()[:-9])
    Path("mics/m1.mrc").write_bytes(b"no image" * 300)
    arguments = ["inspect", "picks.star", "--diameter-angstrom", "40", "--out", "r.html"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert re.search(r"picks on 6 micrographs, 0\.\d MB: open r\.html", shown.out)
    for name in ("m0", "m1"):
        assert (
            len([line for line in shown.err.splitlines() if f"mics/{name}.mrc is shown without its image" in line]) == 1
        )
    sizes = {each["name"]: (each["width"], each["height"]) for each in Page(Path("r.html")).data["micrographs"]}
    assert sizes["mics/m0.mrc"] == (SHAPE[1], SHAPE[0])


def test_pictures_are_bounded_and_cover_the_whole_micrograph() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(900, 1300)).astype(np.float32)
    image[:, 1000:] += 30
    for count in (1, 100, 500, 5000):
        size = ThumbnailSize.for_report_of(count)
        encoded = thumbnail(image, 30.0, size)
        assert len(encoded) <= size.most_bytes
        with Image.open(io.BytesIO(encoded)) as picture:
            assert max(picture.size) <= size.longest_side
            assert picture.size[0] / picture.size[1] == pytest.approx(1300 / 900, rel=0.01)
            bright = np.asarray(picture).mean(axis=0) > 128
            assert np.argmax(bright) / len(bright) == pytest.approx(1000 / 1300, abs=0.01)
    assert 5000 * ThumbnailSize.for_report_of(5000).most_bytes <= 40 * 2**20
    tiny = thumbnail(rng.normal(size=(3, 9)).astype(np.float32), 5.0, ThumbnailSize(900, 100_000))
    with Image.open(io.BytesIO(tiny)) as picture:
        assert picture.size == (9, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"diameter_angstrom": 0.0}, "diameter_angstrom"),
        ({"pixel_size_angstrom": -1.0}, "pixel_size_angstrom"),
        ({"most_micrographs": 0}, "most_micrographs"),
        ({"out": Path("a.star")}, r"a report ends in \.html"),
        ({"apply": Path("c.json")}, r"the picks of a choice end in \.star"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        InspectConfig(Path("picks.star"), **options)


def test_a_choice_is_applied_by_the_command(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = read_particles("picks.star")
    choice = {"format_version": 1, "threshold": 0.5, "min_distance_angstrom": 0.0}
    Path("c.json").write_text(json.dumps(choice | {"excluded_micrographs": ["mics/m1.mrc", "mics/other.mrc"]}))
    assert main("inspect picks.star --apply c.json --out final.star".split()) == 0
    shown = capsys.readouterr()
    final = read_particles("final.star")
    expected = {n: int((p.score >= np.float32(0.5)).sum()) for n, p in given.items() if n != "mics/m1.mrc"}
    assert {name: len(each.xy) for name, each in final.items()} == {n: count for n, count in expected.items() if count}
    assert shown.out == f"{sum(expected.values())} picks on 5 of 6 micrographs: final.star\n"
    assert "1 micrographs of the choice are not mentioned by the picks (mics/other.mrc)" in shown.err
    assert main("inspect picks.star --apply c.json".split()) == 1
    Path("c.json").write_text(json.dumps(choice | {"min_distance_angstrom": 30.0, "excluded_micrographs": []}))
    write_combined_star("silent.star", {n: replace(p, pixel_size_angstrom=None) for n, p in given.items()}, None)
    counts = []
    for options in (
        "picks.star",
        "silent.star",
        "silent.star --pixel-size-angstrom 2",
        "silent.star --pixel-size-angstrom 9",
    ):
        assert main(f"inspect {options} --apply c.json --out final.star".split()) == 0  # or else from the headers
        counts.append(sum(len(each.xy) for each in read_particles("final.star").values()))
    assert counts[0] == counts[1] == counts[2] < counts[3]
    Path("c.json").write_text("{}")
    assert main("inspect picks.star --apply c.json --out other.star".split()) == 1
    assert not Path("other.star").exists()
