"""The report of real micrographs, EMPIAR-10146, with its slider moved in a real browser."""

import os
from dataclasses import replace
from pathlib import Path

import chromium
import numpy as np
import pytest

from hydrapicker.files import read_particles, write_combined_star
from hydrapicker.inspection.inspect import InspectConfig, inspect

SHARED = Path(os.environ.get("HYDRAPICKER_SHARED", Path(__file__).parents[4] / "shared"))
DATA = SHARED / "data" / "empiar-10146"

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}; set HYDRAPICKER_SHARED to the folder with data/"),
    pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium to show the report in: apt-get install chromium"),
]


def test_the_slider_moves_the_counts_of_real_micrographs(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picks = {
        name: replace(each, score=rng.uniform(0.01, 1, len(each.xy)).round(3).astype(np.float32))
        for name, each in read_particles(DATA / "particles.star").items()
    }
    write_combined_star(tmp_path / "picks.star", picks, None)
    config = InspectConfig(tmp_path / "picks.star", tmp_path / "r.html", (str(DATA / "micrographs"),), 120.0)
    report = inspect(config)
    assert (report.micrographs, report.picks, report.notes) == (19, 3112, ())
    assert report.size_bytes < 4e6
    with chromium.Browser(tmp_path / "profile") as page:
        page.open(report.out)
        page.wait("document.querySelectorAll('#gallery img').length > 3")
        page.wait("[...document.querySelectorAll('#gallery img')].every(image => image.naturalWidth > 200)")
        page.drag("#threshold", 0.02, 0.6)
        threshold = float(page.run("document.getElementById('threshold-number').value"))
        expected = {name: int((each.score >= np.float32(threshold)).sum()) for name, each in picks.items()}
        total = f"{sum(expected.values()):,}"
        page.wait(f"document.getElementById('total-picks').textContent === '{total}'")
        for index, count in enumerate(expected[name] for name in sorted(expected)):
            page.run(f"document.getElementById('card-{index}').scrollIntoView()")
            page.wait(f"document.querySelector('#card-{index} .count').textContent === '{count}'")
        assert 0.5 < threshold < 0.7
        assert page.complaints() == []
