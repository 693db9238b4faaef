"""What a job's log says of how far work has got."""

import pytest

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
