"""The life of a head on a real server with PostgreSQL, S3 and logins, and on the embedded database; what is refused."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from lab import make_datasets
from mlflow_server import (
    ADMIN,
    ADMIN_PASSWORD,
    BINARIES,
    Postgres,
    RegistryServer,
    call,
    postgres,
    registry_server,
    server_settings,
)
from registry_attacks import ATTACKS, MOVE
from registry_life import (
    PEOPLE,
    Place,
    begin,
    contribute,
    head_package,
    heads,
    new_run,
    picks,
    refused,
    same,
    shown,
    trunk_and_heads,
)
from s3_server import S3Server

from hydrapicker.cli import main
from hydrapicker_registry import HeadNotFoundError, HeadRegistry, NotPermittedError, RegistryError
from hydrapicker_registry.server.users import main as main_of_users
from hydrapicker_registry.verify import verify

pytestmark = [pytest.mark.timeout(600)]
PASSWORDS = {name: f"{name}'s, on loopback" for name in PEOPLE}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("HYDRAPICKER_STORE", raising=False)
        make_datasets([("c.new", "disc", 3)])
    return folder


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    if BINARIES is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    with postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, database: Postgres, running_s3: S3Server
) -> Iterator[RegistryServer]:
    """A server with an empty registry, and the people of the life, made with the command for it."""
    database.create("registry")
    make_bucket(running_s3, "registry")
    folder = tmp_path_factory.mktemp("server") / "registry"
    settings = server_settings(folder, database, "registry", "s3://registry/artifacts", running_s3.environment)
    with registry_server(folder, settings) as running:
        for name, role in PEOPLE.items():
            users(running, "add", name, "--role", role, password=PASSWORDS[name])
        yield running


def make_bucket(s3: S3Server, name: str) -> None:
    import boto3

    keys = {key.lower(): value for key, value in s3.environment.items() if key.startswith("AWS_")}
    boto3.client(
        "s3", endpoint_url=s3.endpoint, aws_access_key_id=keys["aws_access_key_id"],
        aws_secret_access_key=keys["aws_secret_access_key"], region_name="us-east-1",
    ).create_bucket(Bucket=name)  # fmt: skip


def users(server: RegistryServer, *arguments: str, password: str = "") -> None:
    """Run the command that makes logins, as the admin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server.uri)
        patch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN_PASSWORD)
        patch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
        assert main_of_users(list(arguments)) == 0


@pytest.fixture(scope="module", params=["embedded", "server"])
def place(
    request: pytest.FixtureRequest,
    lab: Path,
    fresh_database: Callable[[Path], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Place:
    if request.param == "server":
        return Place(request.getfixturevalue("server").uri, lab, PASSWORDS)
    return Place(fresh_database(tmp_path_factory.mktemp("embedded") / "mlflow.db"), lab)


def test_the_life_of_a_head(
    place: Place, fresh_database: Callable[[Path], str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if place.guarded:  # what ships is a maintainer's to adopt, as it becomes champion
        with place.as_user("nina"):
            assert "ask for `hydrapicker heads adopt`" in refused(capsys, "contribute", "c.new")
            assert "not permitted" in refused(capsys, "heads", "adopt")
            assert HeadRegistry().list_heads() == ()
    begin(place)
    said = contribute(place)
    assert ("a maintainer decides" in said) == place.guarded, said
    with place.as_user("nina") as registry:
        first = registry.load("c.new", 1)
        assert first.version.aliases == (("challenger",) if place.guarded else ("champion",))
        assert first.head.metadata.metrics["gate_passed"] == 1
    assert_only_maintainers_promote(place, capsys)
    assert_promoted_and_rolled_back(place, capsys)
    assert_retired(place, capsys)
    elsewhere = Place(fresh_database(tmp_path / "elsewhere" / "mlflow.db"), tmp_path)
    assert_moved_to_another_registry(place, elsewhere, capsys)
    with place.as_user("rita") as registry:
        assert {finding.problem for finding in verify(registry)} == {None}


def assert_only_maintainers_promote(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    promote = ("heads", "promote", "c.new", "--version", "1")
    if place.guarded:
        with place.as_user("nina"):
            assert "not permitted" in refused(capsys, *promote)
        with place.as_user("rita") as registry, pytest.raises(HeadNotFoundError, match="no champion yet"):
            registry.load("c.new")
    with place.as_user("mara"):
        assert heads(capsys, *promote[1:]) == "c.new version 1 is champion\n"


def assert_promoted_and_rolled_back(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A second version comes, is loaded by name, version and alias, and is taken back."""
    with place.as_user("nina") as registry:
        loaded = registry.load("c.new")
        shifted = {name: value + 0.01 for name, value in loaded.head.weights.items()}
        second = head_package(loaded.trunk, "c.new", shifted)
        assert registry.register_head(second, new_run(registry), "challenger") == 2
    with place.as_user("rita"):
        by_name = picks("c.new")
        assert same(by_name, picks("c.new", 1))
        assert same(by_name, picks("c.new@champion"))
        assert not same(by_name, picks("c.new@challenger"))
    with place.as_user("mara"):
        heads(capsys, "promote", "c.new", "--version", "2")
    with place.as_user("rita"):
        assert same(picks("c.new"), picks("c.new", 2))
        assert not same(picks("c.new"), by_name)
    with place.as_user("mara"):
        assert heads(capsys, "rollback", "c.new") == "c.new version 1 is champion again\n"
    with place.as_user("rita"):
        assert same(picks("c.new"), by_name)
        newest, oldest = shown(capsys, "c.new")
        done = [(period["alias"], period["by"]) for period in [*newest["periods"], *oldest["periods"]]]
        if place.guarded:
            assert done == [
                ("champion", "mara"), ("challenger", "nina"), ("champion", "mara"), ("champion", "mara"),
                ("challenger", "nina"),
            ]  # fmt: skip


def assert_retired(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    if place.guarded:
        with place.as_user("nina"):
            assert "not permitted" in refused(capsys, "heads", "retire", "c.new", "--version", "2")
    with place.as_user("mara"):
        heads(capsys, "retire", "c.new", "--version", "2")
        listed = json.loads(heads(capsys, "--name", "c.new", "--json"))
        assert [head["version"] for head in listed] == [1]
    with place.as_user("rita"):
        assert len(picks("c.new", 2))


def assert_moved_to_another_registry(place: Place, elsewhere: Place, capsys: pytest.CaptureFixture[str]) -> None:
    archive = str(elsewhere.lab / "head.zip")
    with place.as_user("rita"):
        before = picks("c.new")
        heads(capsys, "export", "c.new", "--out", archive)
    with elsewhere.as_user("mara"):
        assert heads(capsys, "import", archive) == "registered c.new version 1 as champion\n"
        assert same(picks("c.new"), before)


def test_nobody_without_a_login_reads_or_writes(server: RegistryServer, tmp_path: Path) -> None:
    for path in ("/", "/api/2.0/mlflow/registered-models/search", "/graphql", "/signup"):
        assert call(server, ("nobody", "nothing"), "GET", path)[0] == 401, path
    place = Place(server.uri, tmp_path, {"nina": "not hers"})
    with place.as_user("nina") as registry, pytest.raises(RegistryError, match="MLFLOW_TRACKING_PASSWORD"):
        registry.list_heads()


@pytest.fixture(scope="module")
def ninas(server: RegistryServer, lab: Path) -> dict[str, str]:
    """A version of nina's, that is champion, with the run and the logged model it came from."""
    place = Place(server.uri, lab, PASSWORDS)
    trunk, made = trunk_and_heads()
    with place.as_user("mara") as registry:
        registry.register_trunk(trunk, new_run(registry))
    with place.as_user("nina") as registry:
        run_id = new_run(registry)
        weights = made["a"].weights
        registry.register_head(head_package(trunk, "ninas", weights), run_id, "challenger")
    with place.as_user("mara") as registry:
        registry.promote("ninas", 1)
        version = registry.client.get_model_version("hydrapicker.head.ninas", "1")
    with place.as_user("otto") as registry:
        otto = registry.client.get_run(new_run(registry))
    model = version.source.split("/models/")[1].split("/")[0]
    return {
        "name": version.name, "run": run_id, "model": model, "source": version.source,
        "own": otto.info.run_id, "experiment": otto.info.experiment_id,
    }  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_contributor_is_refused(server: RegistryServer, ninas: dict[str, str], attack: str) -> None:
    method, path, body = ATTACKS[attack]

    def filled(text: str) -> str:
        for key, value in ninas.items():
            text = text.replace(f"${key}", value)
        return text

    said = body if body is None or isinstance(body, bytes) else json.loads(filled(json.dumps(body)))
    status, answer = call(server, ("otto", PASSWORDS["otto"]), method, f"/api/{filled(path)}", said)
    assert status == (400 if "camel" in attack else 403), answer  # which MLflow does not understand here
    ajax, _ = call(server, ("otto", PASSWORDS["otto"]), method, f"/ajax-api/{filled(path)}", said)
    assert ajax in (400, 403, 404, 405)


def test_refused_requests_have_changed_nothing(server: RegistryServer, ninas: dict[str, str], lab: Path) -> None:
    place = Place(server.uri, lab, PASSWORDS)
    with place.as_user("mara") as registry:
        assert [finding.problem for finding in verify(registry, "ninas")] == [None]
        (head,) = registry.versions("ninas")
        assert (head.version, head.aliases, head.retired) == (1, ("champion",), False)
        run = registry.client.get_run(ninas["run"])
        assert run.data.tags["hydrapicker.owner"] == "nina"
        assert run.info.status == "RUNNING"
        assert registry.client.get_run(ninas["own"]).data.tags["hydrapicker.owner"] == "otto"


def test_one_cannot_change_ones_own_version_any_more(server: RegistryServer, ninas: dict[str, str]) -> None:
    nina = ("nina", PASSWORDS["nina"])
    weights = f"{ninas['experiment']}/models/{ninas['model']}/artifacts/head/head.safetensors"
    tag = {"name": ninas["name"], "version": "1", "key": "package_sha256", "value": "0" * 64}
    for method, path, body in (
        ("PUT", f"mlflow-artifacts/artifacts/{weights}", b"better ones"),
        ("POST", "mlflow/model-versions/set-tag", tag),
        ("DELETE", f"mlflow/logged-models/{ninas['model']}", None),
    ):
        assert call(server, nina, method, f"/api/2.0/{path}", body)[0] == 403, path


def test_a_maintainer_is_on_record_under_their_own_name(server: RegistryServer, ninas: dict[str, str]) -> None:
    mara, set_tag = ("mara", PASSWORDS["mara"]), "/api/2.0/mlflow/registered-models/set-tag"
    record = {"name": ninas["name"], "key": MOVE, "value": '{"version": 1, "by": "nina"}'}
    status, answer = call(server, mara, "POST", set_tag, record)
    assert (status, "mara puts a move on record as done by nina" in answer["message"]) == (403, True)


def test_a_reader_only_reads(server: RegistryServer, lab: Path) -> None:
    with Place(server.uri, lab, PASSWORDS).as_user("rita") as registry:
        assert registry.list_heads()
    rita, new = ("rita", PASSWORDS["rita"]), {"name": "hydrapicker.head.ritas"}
    status, answer = call(server, rita, "POST", "/api/2.0/mlflow/registered-models/create", new)
    assert (status, "only contributors" in answer["message"]) == (403, True)


def test_logins_come_change_and_go(server: RegistryServer, capsys: pytest.CaptureFixture[str]) -> None:
    guest, current = ("guest", "a guest's, on loopback"), "/api/2.0/mlflow/users/current"

    def listed() -> list[str]:
        capsys.readouterr()
        users(server, "list")
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith(("admin", "guest", "nina"))]

    assert listed() == ["admin admin", "nina contributor"]
    users(server, "add", "guest", password=guest[1])
    assert call(server, guest, "GET", current)[0] == 200
    users(server, "add", "guest", "--role", "maintainer")
    users(server, "add", "guest", "--role", "contributor")
    assert listed()[1:] == ["nina contributor", "guest contributor"]
    users(server, "remove", "guest")
    assert listed() == ["admin admin", "nina contributor"]
    assert call(server, ("guest", "another"), "GET", current)[0] == 401


def test_logs_hold_no_secret(server: RegistryServer, database: Postgres) -> None:
    log = server.log.read_text()
    assert "GET /api/2.0/mlflow/registered-models" in log
    passwords = Path(database.environment["PGPASSFILE"]).read_text().strip().rsplit(":", 1)[1]
    secrets = [ADMIN_PASSWORD, *PASSWORDS.values(), passwords, server.settings["AWS_SECRET_ACCESS_KEY"]]
    secrets.append(server.settings["MLFLOW_FLASK_SERVER_SECRET_KEY"])
    for secret in secrets:
        assert secret not in log


def backup(folder: Path, server: Mapping[str, str], verb: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "hydrapicker_registry.server.backup", verb, str(folder)]
    return subprocess.run(command, env={**os.environ, **server}, capture_output=True, text=True, check=False)


def test_a_saved_registry_is_restored_to_a_fresh_server(
    server: RegistryServer,
    database: Postgres,
    running_s3: S3Server,
    ninas: dict[str, str],
    lab: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):  # the second copies what is new since, which is nothing
        saved = backup(tmp_path / "saved", server.settings, "save")
        assert saved.returncode == 0, saved.stderr
    assert (tmp_path / "saved").stat().st_mode & 0o077 == 0
    place = Place(server.uri, lab, PASSWORDS)
    with place.as_user("rita"):
        picked, before = picks("ninas"), (heads(capsys, "--json"), shown(capsys, "ninas"))

    database.create("restored")
    make_bucket(running_s3, "restored")
    settings = server_settings(
        tmp_path / "restored", database, "restored", "s3://restored/artifacts", running_s3.environment
    )
    restored = backup(tmp_path / "saved", settings, "restore")
    assert restored.returncode == 0, restored.stderr
    again = backup(tmp_path / "saved", settings, "restore")
    assert again.returncode == 1
    assert "holds files already" in again.stderr
    with registry_server(tmp_path / "restored", settings) as fresh:
        there = Place(fresh.uri, tmp_path, PASSWORDS)
        with there.as_user("rita"):
            assert main(["heads", "verify"]) == 0
            assert (heads(capsys, "--json"), shown(capsys, "ninas")) == before
            assert same(picks("ninas"), picked)
        with there.as_user("nina") as registry, pytest.raises(NotPermittedError):
            registry.retire("ninas")
