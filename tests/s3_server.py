"""A real S3 server on loopback for the tests: SeaweedFS, started once per session and stopped by its own pid."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY = "hydrapicker-tests"
SECRET_KEY = "only-on-loopback"
_READY_SECONDS = 60


@dataclass(frozen=True)
class S3Server:
    """A server that answers.

    Attributes:
        endpoint: Its URL.
        environment: The usual AWS variables that lead to it.
    """

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server that keeps its data in ``folder`` for as long as the context lasts."""
    config = folder / "s3.json"
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    config.write_text(json.dumps({"identities": [{"name": "tests", "credentials": credentials, "actions": actions}]}))
    (folder / "data").mkdir()
    master, volume, filer, s3 = _free_ports(4)
    options = {
        "dir": folder / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "master.port": master,
        "master.telemetry": "false", "master.volumeSizeLimitMB": 64, "volume.port": volume, "volume.max": 4000,
        "filer.port": filer, "s3.port": s3, "s3.config": config,
        "s3.port.iceberg": 0, "s3.port.lance": 0,  # of two servers on a machine the second would stop at these
    }  # fmt: skip
    command = [Path(sys.executable).with_name("weed"), "server", "-filer", "-s3"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([*command, *(f"-{key}={value}" for key, value in options.items())], stderr=log)
        try:
            _wait(process, f"http://127.0.0.1:{s3}", folder / "server.log")
            yield S3Server(f"http://127.0.0.1:{s3}")
        finally:
            process.kill()  # it holds nothing that is worth its slow end by SIGTERM
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", endpoint: str, log: Path) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1", config=Config(retries={"max_attempts": 0}, read_timeout=10),
    )  # fmt: skip
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"ready")  # the first write is the slow one
            return
        except (BotoCoreError, ClientError):
            time.sleep(0.25)
    raise TimeoutError(log.read_text(errors="replace")[-2000:])


def _free_ports(count: int) -> list[int]:
    """Find ports that are free, and of which the one 10,000 higher (gRPC, as SeaweedFS has it) is free too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as low:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            with socket.socket() as high:
                try:
                    high.bind(("127.0.0.1", port + 10_000))
                except (OSError, OverflowError):
                    continue
            if port not in found and port + 10_000 not in found:
                found.append(port)
    return found
