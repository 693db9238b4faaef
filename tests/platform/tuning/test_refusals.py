"""What is refused before Ray or MLflow are even asked."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hydrapicker.errors import DatasetNotFoundError, HydraPickerError, InvalidInputError
from hydrapicker.tuning.config import TuneConfig, demo
from hydrapicker.tuning.tune import tune


@pytest.mark.parametrize(
    ("sources", "targets", "error", "refusal"),
    [
        (("a", "nothing"), ("target",), DatasetNotFoundError, "nothing"),
        (("a", "b"), ("nothing",), DatasetNotFoundError, "nothing"),
        (("a", "b"), ("wide",), InvalidInputError, r"different boxes .*wide 32 px.* ingest them with one"),
        (("a", "wide"), ("target",), InvalidInputError, "different boxes"),
        (("a", "b"), ("unlabelled",), InvalidInputError, "unlabelled has no particles"),
        (("a", "b"), (), InvalidInputError, "--targets"),
        ((), ("target",), InvalidInputError, "--datasets"),
        (("a", "a"), ("target",), InvalidInputError, "named twice"),
        (("a",), ("generic",), InvalidInputError, "generic"),
    ],
)
def test_datasets_that_cannot_be_tried(
    store: str,
    tmp_path: Path,
    sources: tuple[str, ...],
    targets: tuple[str, ...],
    error: type[HydraPickerError],
    refusal: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    config = TuneConfig(targets=targets, grace_epochs=10, train=replace(demo().train, datasets=sources, store=store))
    with pytest.raises(error, match=refusal) as refused:
        tune(config)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_help_loads_nothing_that_is_slow() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from hydrapicker.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
        "    main(['tune', '--help'])\n"
        "assert '--search.lambda-bias' in out.getvalue()\n"
        "print([name for name in ('ray', 'optuna', 'mlflow', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
