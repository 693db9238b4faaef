"""What a job's log says of how far work has got."""

import pytest
from rich.console import Console

from hydrapicker.cli import console


def test_a_log_says_how_long_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 110, 10 were done before; 20 more took 40 s, so that 80 take 160 s. In between there is a line every 10 s."""
    clock = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with console.progress_bar("pick") as show:
        show(10, 110, "")
        for now, done in ((105.0, 12), (140.0, 30), (145.0, 32), (700.0, 110)):
            clock[0] = now
            show(done, 110, f"m{done}.mrc: 7 picks")
    assert capsys.readouterr().err.splitlines() == [
        "pick 30/110 m30.mrc: 7 picks, 0:02:40 left",
        "pick 110/110 m110.mrc: 7 picks",
    ]


def test_a_table_for_a_pipe_breaks_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    console.print_table(("head", "AP", "who"), [("a", 0.5, None), ("[b] 蛋白", None, long)], "on [3] test micrographs")
    assert capsys.readouterr().out.splitlines() == [
        "on [3] test micrographs",
        "head         AP  who",
        "a         0.500  -",
        f"[b] 蛋白      -  {long}",  # a Chinese letter is as wide as two others
    ]


def test_a_table_without_rows_is_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(("head", "AP"), [])
    assert capsys.readouterr().out.splitlines() == ["head  AP"]


def test_a_narrow_terminal_folds_cells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "Console", lambda: Console(force_terminal=True, width=20, color_system=None))
    console.print_table(("head", "AP"), [("a" * 30, 0.5)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 20
    assert sum(line.count("a") for line in lines[1:]) == 30
