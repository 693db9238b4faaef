"""What is built, named and imported: three packages, nothing shadowed, nothing heavy where it is not needed."""

import ast
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib import import_module
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hatchling.builders.sdist import SdistBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hydrapicker
from hydrapicker import cli

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "hydrapicker_core": ROOT / "hydrapicker_core",
    "hydrapicker_registry": ROOT / "registry" / "hydrapicker_registry",
    "hydrapicker": ROOT / "platform" / "hydrapicker",
}
HEAVY = ("torch", "ray", "mlflow", "pandas")
IN_ROOT = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120}


def python(code: str, **environment: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | environment, check=False, **IN_ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("folder", ["platform", "registry"])
def test_source_roots_are_no_packages(folder: str) -> None:
    assert not list((ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("environment", [{}, {"PYTHONPATH": "."}], ids=["from the root", "PYTHONPATH=."])
def test_import_platform_gives_the_standard_librarys(environment: dict[str, str]) -> None:
    found = python("import platform; print(platform.__file__, platform.python_version())", **environment)
    path, version = found.rsplit(" ", 1)
    assert Path(path).parent == Path(sysconfig.get_path("stdlib"))
    assert version == sys.version.split()[0]


def test_registry_is_at_most_a_folder_that_holds_no_module() -> None:
    """In the checkout a folder is importable as a nameless namespace; the wheel (below) has no such name at all."""
    code = "import importlib.util as u; s = u.find_spec('registry'); print(s is None or s.origin is None)"
    assert python(code) == python(code, PYTHONPATH=".") == "True"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, check=False, **IN_ROOT)
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built


def test_the_wheel_holds_exactly_the_three_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    info = f"hydrapicker-{version}.dist-info"
    assert {name.split("/")[0] for name in names} == {*PACKAGES, info}
    assert {f"{info}/licenses/LICENSE", f"{info}/entry_points.txt"} <= names
    for package, folder in PACKAGES.items():
        sources = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        wanted = {f"{package}/{path}" for path in sources if "__pycache__" not in path.parts}
        assert {name for name in names if name.startswith(f"{package}/")} == wanted
        assert f"{package}/py.typed" in names


def test_the_source_distribution_holds_the_shipped_model_too() -> None:
    shipped = PACKAGES["hydrapicker_registry"] / "shipped"
    held = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    wanted = {str(path.relative_to(ROOT)) for path in shipped.rglob("*") if path.suffix in (".json", ".safetensors")}
    assert len(wanted) == 5
    assert wanted <= held


def test_the_wheel_works_without_the_checkout(wheel: Path) -> None:
    code = (
        f"import os, sys; os.chdir('/'); sys.path.insert(0, {str(wheel)!r}); "
        "import hydrapicker, hydrapicker_core.errors, hydrapicker_registry, hydrapicker.cli; "
        "print(hydrapicker.__file__, hydrapicker.cli.main(['--help']))"
    )
    found = python(code)
    assert str(wheel) in found
    assert found.endswith(" 0")


def test_a_fresh_environment_picks_a_micrograph_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """Of the project only the wheel is installed; what it depends on is lent by the environment of the tests."""
    fresh, here = tmp_path / "fresh", tmp_path / "here"
    venv.create(fresh, symlinks=True)
    python = fresh / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, timeout=120)
    (packages,) = (fresh / "lib").glob("python*/site-packages")
    lent = sysconfig.get_path("purelib")  # an editable install in it is not: its .pth file is not read from here
    (packages / "lent.pth").write_text(f"{lent}\n")
    here.mkdir()
    noise = np.random.default_rng(3).normal(size=(192, 160)).astype(np.float32)
    with mrcfile.new(here / "m.mrc", noise) as file:
        file.voxel_size = 4.0
    environment = {"PATH": os.defpath, "HOME": str(tmp_path)}
    command = [fresh / "bin" / "hydrapicker", *"pick m.mrc --diameter-angstrom 150".split()]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("picking with the generic head shipped with hydrapicker ")
    assert sorted(path.name for path in here.iterdir()) == ["m.mrc", "picks"]
    assert (here / "picks" / "picks.star").is_file()
    code = "import hydrapicker_registry.shipped as s; print(s.__file__, s.shipped_head().version.version)"
    done = subprocess.run([python, "-c", code], cwd=here, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{packages}/hydrapicker_registry/shipped/")


@pytest.mark.parametrize(
    "code",
    [
        "import hydrapicker",
        "import hydrapicker_registry",
        "from hydrapicker.cli import main; assert main(['--help']) == 0",
        "from hydrapicker.cli import main; assert main(['--version']) == 0",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    ask = f"; import sys; print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    assert python(code + ask).endswith("loaded: []")


def test_the_console_script_is_the_command_line() -> None:
    script = Path(sys.executable).parent / "hydrapicker"
    code = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    code += f"except SystemExit as e: print('code', e.code, [n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, str(script)], check=False, **IN_ROOT)
    assert done.stdout.endswith("code 0 []\n"), done.stderr
    assert all(f"  {command} " in done.stdout for command in cli.COMMANDS)


def test_public_names_resolve_and_are_documented() -> None:
    assert hydrapicker.__all__
    for name in hydrapicker.__all__:
        assert getattr(hydrapicker, name).__doc__


@pytest.mark.parametrize("job", sorted((ROOT / "jobs").glob("*.py")), ids=lambda path: path.name)
def test_jobs_are_executable_and_short(job: Path) -> None:
    lines = job.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env python3"
    assert os.access(job, os.X_OK)
    assert len(lines) <= 20


def test_every_job_of_the_first_release_is_there() -> None:
    wanted = {"train_multihead.py", "contribute_dataset.py", "ingest_dataset.py", "pick_micrographs.py"}
    wanted |= {"evaluate_heads.py", "tune_lambda_bias.py"}
    assert wanted <= {path.name for path in (ROOT / "jobs").glob("*.py")}


SERVER = PACKAGES["hydrapicker_registry"] / "server"
"""The one part that needs more than everybody installs, and that nothing else imports."""


def imported_by(folder: Path, without: Path | None = None) -> set[str]:
    """Top-level names of all absolute imports, also of those inside functions."""
    found = set()
    for path in folder.rglob("*.py"):
        if without is not None and path.is_relative_to(without):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(str(node.module).split(".")[0])
    return found


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("hydrapicker_core", {"hydrapicker_core"}),
        ("hydrapicker_registry", {"hydrapicker_core", "hydrapicker_registry"}),
        ("hydrapicker", set(PACKAGES)),
    ],
)
def test_packages_import_only_downwards(package: str, allowed: set[str]) -> None:
    assert imported_by(PACKAGES[package]) & {*PACKAGES, "registry", "platform", "tests", "jobs"} <= allowed


def test_the_core_needs_torch_and_numpy_only() -> None:
    third_party = imported_by(PACKAGES["hydrapicker_core"]) - set(sys.stdlib_module_names)
    assert third_party <= {"hydrapicker_core", "torch", "numpy", "jaxtyping", "numba"}
    code = (
        "import sys; sys.modules['numba'] = None; from hydrapicker_core import inference as i; print(i._fast_trunk())"
    )
    assert python(code) == "None", "without Numba the plain trunk does"


def test_every_third_party_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["server"]
    everybodys = set.union(*(imported_by(folder, without=SERVER) for folder in PACKAGES.values()))
    for imported, lines in (
        (everybodys, [*project["dependencies"], *project["optional-dependencies"]["fast"]]),
        (imported_by(SERVER), [*project["dependencies"], *extra]),
    ):
        declared = {canonicalize_name(Requirement(line).name) for line in lines}
        third_party = imported - set(sys.stdlib_module_names) - set(PACKAGES)
        names = {"PIL": "pillow", "yaml": "pyyaml"}
        assert {canonicalize_name(names.get(name, name)) for name in third_party} - declared == set()


def test_the_lock_file_satisfies_the_declared_ranges() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.lock").read_text().splitlines())
    pins = dict(line.split(";")[0].strip().split("==") for line in lines if line)
    locked = {canonicalize_name(name): version for name, version in pins.items()}
    assert len(locked) == len(pins)
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
        *project["project"]["optional-dependencies"]["server"],
        *project["build-system"]["requires"],
    ]
    for requirement in map(Requirement, wanted):
        version = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_runs_and_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(import_module(f"hydrapicker.cli.{command}").run)
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr()
    assert f"usage: hydrapicker {command}" in shown.out
    assert shown.err == ""
