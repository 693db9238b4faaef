"""What failures mean and how they are told: errors that the libraries themselves raise, and a real server's."""

import pickle
import subprocess
import sys
from collections import Counter

import boto3
import pytest
import urllib3
from botocore.exceptions import ClientError, NoCredentialsError, ReadTimeoutError, SSLError
from fault_proxy import fault_proxy
from s3fs.errors import translate_boto_error

from hydrapicker.errors import StoreAccessError, StoreChangedError, StoreError
from hydrapicker.storage import s3 as s3_module
from hydrapicker.storage.faults import Fault, HttpStatusError, as_store_error, fault_of, without_secrets
from hydrapicker.storage.location import Location
from hydrapicker.storage.retry import RetryBudget
from hydrapicker.storage.s3 import S3Backend
from hydrapicker.storage.s3_upload import S3Upload

_CLOSED = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        (503, "SlowDown", Fault.TRANSIENT),
        (500, "InternalError", Fault.TRANSIENT),
        (400, "RequestTimeout", Fault.TRANSIENT),
        (409, "ConditionalRequestConflict", Fault.TRANSIENT),
        (502, "", Fault.TRANSIENT),
        (429, "NeverHeardOf", Fault.TRANSIENT),
        (404, "NoSuchKey", Fault.ABSENT),
        (404, "", Fault.ABSENT),
        (404, "NoSuchBucket", Fault.NO_BUCKET),
        (301, "PermanentRedirect", Fault.WRONG_REGION),
        (400, "AuthorizationHeaderMalformed", Fault.BAD_CREDENTIALS),
        (403, "SignatureDoesNotMatch", Fault.BAD_CREDENTIALS),
        (403, "InvalidAccessKeyId", Fault.BAD_CREDENTIALS),
        (400, "ExpiredToken", Fault.EXPIRED_CREDENTIALS),
        (403, "RequestExpired", Fault.EXPIRED_CREDENTIALS),
        (403, "AccessDenied", Fault.DENIED),
        (403, "", Fault.DENIED),
        (403, "RequestTimeTooSkewed", Fault.OTHER),
        (412, "PreconditionFailed", Fault.CHANGED),
        (400, "InvalidArgument", Fault.OTHER),
    ],
)
def test_answers_of_s3(status, code, fault):
    assert fault_of(HttpStatusError(status, code)) is fault
    answer = {"Error": {"Code": code or str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = ClientError(answer, "GetObject")
    assert fault_of(error) is fault
    # s3fs turns both a missing bucket and a missing object into FileNotFoundError, and expired into PermissionError.
    assert fault_of(translate_boto_error(error)) is fault


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ReadTimeoutError(endpoint_url="http://a"), Fault.TRANSIENT),
        (NoCredentialsError(), Fault.BAD_CREDENTIALS),
        (SSLError(endpoint_url="http://a", error="certificate"), Fault.OTHER),
        (urllib3.exceptions.IncompleteRead(3, 4), Fault.TRANSIENT),
        (TimeoutError(), Fault.TRANSIENT),
        (BrokenPipeError(32, "broken"), Fault.TRANSIENT),
        (FileNotFoundError(2, "no such file"), Fault.ABSENT),
        (FileNotFoundError("memory://a"), Fault.ABSENT),
        (PermissionError(13, "no"), Fault.DENIED),
        (OSError(28, "No space left on device"), Fault.OTHER),
        (ValueError("ours"), Fault.OTHER),
    ],
)
def test_other_errors(error, fault):
    assert fault_of(error) is fault


def test_the_cause_counts_unless_it_is_hidden():
    shown, hidden = RuntimeError(), RuntimeError()
    shown.__context__ = hidden.__context__ = ConnectionResetError()
    hidden.__suppress_context__ = True
    assert fault_of(shown) is Fault.TRANSIENT
    assert fault_of(hidden) is Fault.OTHER


def test_a_refusal_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(HttpStatusError(403, "AccessDenied", "No.")))  # noqa: S301 (our own)
    assert (error.status, error.code, error.message) == (403, "AccessDenied", "No.")


def test_secrets_stay_out_of_messages(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:secret@host.example:1234/path")
    with pytest.raises(urllib3.exceptions.HTTPError) as caught:
        urllib3.PoolManager(retries=0).request("GET", f"{_CLOSED}/b/k?X-Amz-Signature=secret&X-Amz-Credential=secret")
    for error in (caught.value, OSError("cannot reach http://me:secret@host.example/b?token=secret")):
        message = str(as_store_error(error, "read", "s3://b/k"))
        assert "secret" not in message
        assert "host.example" in message


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ftp://me:secret@host/a", "ftp://host/a"),
        ("ftp://secret@host:21/a@b", "ftp://host:21/a@b"),
        ("s3://AKIA:sec/ret@bucket/x, and ftp://a:sec@ret@host", "s3://bucket/x, and ftp://host"),
        ("zip://a.mrc::https://me:secret@host/a.zip", "zip://host/a.zip"),
        ("https://host/a/b?X-Amz-Signature=secret&a=secret", "https://host/a/b"),
        ("s3://bucket/mics?/a?.mrc", "s3://bucket/mics?/a?.mrc"),
        ("s3://bucket/me@home/x", "s3://bucket/me@home/x"),
        ("/home/me@home//a:b@c?d=e", "/home/me@home//a:b@c?d=e"),
    ],
)
def test_what_is_shown_of_urls(text, shown):
    assert without_secrets(text) == shown


def test_another_region_is_named_with_what_to_set():
    message = "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'"
    error = HttpStatusError(400, "AuthorizationHeaderMalformed", message)
    assert fault_of(error) is Fault.WRONG_REGION
    told = as_store_error(error, "read", "s3://b/k")
    assert type(told) is StoreAccessError
    assert "expecting 'eu-central-1'); set AWS_DEFAULT_REGION to the bucket's" in str(told)


def test_nothing_of_amazon_is_imported_before_it_is_needed():
    script = (
        "import sys, hydrapicker.storage.location\n"
        "print([name for name in ('botocore', 'aiobotocore', 's3fs', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _refused(operation, kind: type[StoreError], says: str) -> None:
    with pytest.raises(StoreError) as caught:
        operation()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert says in message
    assert "\n" not in message
    assert "tried" not in message


def _every_way(root: str):
    location = Location(root)
    yield lambda: location.read("a/b")
    yield lambda: location.read_range("a/b", 0, 1)
    yield lambda: location.read_tagged("a/b")
    yield lambda: location.size("a/b")
    yield lambda: location.exists("a/b")
    yield lambda: location.names("a")
    yield lambda: location.files()
    yield lambda: location.unfinished_uploads()
    yield lambda: location.write("a/b", b"")
    yield lambda: location.write_if_unchanged("a/b", b"", None)
    yield lambda: location.writer("a/b").__enter__()
    yield lambda: location.remove("a")


def test_a_missing_bucket(s3):
    for operation in _every_way("s3://nobody-made-this/prefix"):
        _refused(operation, StoreAccessError, "there is no bucket nobody-made-this on the S3 server 127.0.0.1:")


@pytest.mark.parametrize(
    ("variable", "says"),
    [("AWS_SECRET_ACCESS_KEY", "(SignatureDoesNotMatch"), ("AWS_ACCESS_KEY_ID", "(InvalidAccessKeyId")],
)
def test_wrong_credentials(bucket, monkeypatch, variable, says):
    monkeypatch.setenv(variable, "something-else")
    for operation in _every_way(f"s3://{bucket}"):
        _refused(operation, StoreAccessError, says)


def test_no_credentials(bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    _refused(lambda: Location(f"s3://{bucket}").read("a"), StoreAccessError, "no usable AWS credentials")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    _refused(lambda: Location(f"s3://{bucket}").read("a"), StoreAccessError, "profile (nobody) could not be found")


def test_expired_credentials(s3, bucket, monkeypatch):
    with fault_proxy(s3.endpoint, {"expired": 1.0}) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        for operation in _every_way(f"s3://{bucket}"):
            _refused(operation, StoreAccessError, "the AWS credentials have expired (ExpiredToken")


def test_an_endpoint_that_is_none(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    _refused(lambda: Location(f"s3://{bucket}").read("a"), StoreAccessError, "check AWS_ENDPOINT_URL")


def test_a_dead_endpoint_ends_in_one_line_when_the_budget_is_spent(s3, bucket, monkeypatch):
    location = Location(f"s3://{bucket}", RetryBudget(seconds=0.5, first_pause=0.05))
    with fault_proxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert location.names() == ()
    with pytest.raises(StoreError, match=r"the S3 server 127\.0\.0\.1:\d+ .*, tried \d+ times in \d+ s; ") as caught:
        location.read("a")
    assert type(caught.value) is StoreError
    assert "\n" not in str(caught.value)


def test_a_throttling_server_is_told_from_a_dead_one(s3, bucket, monkeypatch):
    location = Location(f"s3://{bucket}", RetryBudget(seconds=0.5, first_pause=0.05))
    with fault_proxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert location.names() == ()
        before = proxy.requests["GET"]
        proxy.rates = {"slow_down": 1.0}
        with pytest.raises(StoreError, match=r"SlowDown: Please reduce your request rate\), tried \d+ times") as caught:
            location.read("a")
    sent = proxy.requests["GET"] - before
    assert f"tried {sent} times" in str(caught.value)  # nobody but us tries again


_RATES = {"slow_down": 0.04, "reset": 0.04, "truncated": 0.04, "lost_answer": 0.04, "flipped": 0.04, "stall": 0.03}


def test_everything_comes_through_a_bad_network(s3, bucket, monkeypatch):
    """More than 20 % of the requests fail, in all ways at once; whole files are read right even where a bit flips."""
    with fault_proxy(s3.endpoint, _RATES, stall_seconds=0.1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        location = Location(f"s3://{bucket}/prefix", RetryBudget(first_pause=0.01))
        tag = None
        for number in range(40):
            content = number.to_bytes(2, "big") * 20_000
            location.write_if_unchanged("pointer", content, tag)
            location.write(f"files/{number}", content)
            read = location.read_tagged("pointer")
            assert read is not None
            assert read[0] == content == location.read(f"files/{number}")
            assert location.size("pointer") == len(content)
            assert len(location.read_range("pointer", 39_999, 5)) == 1
            tag = read[1]
        assert len(location.names("files")) == len(location.files("files")) == 40
    assert set(proxy.injected) == set(_RATES)


def test_a_large_file_comes_through_a_bad_network(s3, bucket, monkeypatch):
    content = bytes(range(256)) * 40_000
    rates = {"slow_down": 0.12, "reset": 0.12, "lost_answer": 0.12}
    with fault_proxy(s3.endpoint, rates) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        location = Location(f"s3://{bucket}", RetryBudget(first_pause=0.01))
        for name in ("a", "b", "c", "d"):
            with location.writer(name) as file:
                file.write(content)
            assert location.read(name) == content
    assert set(proxy.injected) == set(rates)


def _first(*methods: str):
    """Let a fault befall the first request of each of these methods only."""
    left = Counter(methods)

    def only(method: str, target: str) -> bool:
        left[method] -= 1
        return left[method] >= 0

    return only


def test_a_lost_answer_to_a_conditional_write_is_known_as_our_success(s3, bucket, monkeypatch):
    with fault_proxy(s3.endpoint, {"lost_answer": 1.0}, only=_first("PUT")) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        location = Location(f"s3://{bucket}", RetryBudget(first_pause=0.01))
        location.write_if_unchanged("pointer", b"ours", None)
        assert location.read("pointer") == b"ours"
        assert proxy.requests["PUT"] == 2


def test_a_lost_answer_does_not_make_the_success_of_others_ours(s3, bucket, monkeypatch):
    boto3.client("s3").put_object(Bucket=bucket, Key="pointer", Body=b"theirs")
    with fault_proxy(s3.endpoint, {"lost_answer": 1.0}, only=_first("PUT")) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        location = Location(f"s3://{bucket}", RetryBudget(first_pause=0.01))
        with pytest.raises(StoreChangedError):
            location.write_if_unchanged("pointer", b"ours", None)
        assert location.read("pointer") == b"theirs"


def test_a_lost_answer_to_the_end_of_an_upload_is_known_as_our_success(s3, bucket, monkeypatch):
    def completing(method: str, target: str) -> bool:
        return method == "POST" and "uploadId=" in target and not proxy.injected["lost_answer"]

    with fault_proxy(s3.endpoint, {"lost_answer": 1.0}, only=completing) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        location = Location(f"s3://{bucket}", RetryBudget(first_pause=0.01))
        with location.writer("large") as file:
            file.write(bytes(9 * 2**20))
        assert proxy.injected["lost_answer"] == 1
        assert location.size("large") == 9 * 2**20


@pytest.mark.parametrize("complete", [True, False])
def test_an_upload_that_is_gone_at_the_second_attempt_is_complete_or_lost(bucket, complete):
    """SeaweedFS lets an upload be completed twice; other servers say, as here, that there is none (any more)."""
    backend = S3Backend(bucket)
    ends = []

    def call(method: str, **arguments: object) -> dict[str, object]:
        if method != "complete_multipart_upload":
            return backend.call(method, **arguments)
        ends.append(method)
        if len(ends) == 1:
            if complete:
                backend.call(method, **arguments)
            raise ConnectionResetError
        raise HttpStatusError(404, "NoSuchUpload")

    backend.call("put_object", Key="large", Body=b"old")
    upload = S3Upload(call, "large", RetryBudget(first_pause=0.01))
    upload.write(bytes(9 * 2**20))
    if complete:
        upload.finish()
        assert backend.size(f"{bucket}/large") == 9 * 2**20
    else:
        with pytest.raises(HttpStatusError, match="NoSuchUpload"):
            upload.finish()
        assert backend.read(f"{bucket}/large") == b"old"


def test_an_answer_that_does_not_come_is_a_fault(s3, bucket, monkeypatch):
    boto3.client("s3").put_object(Bucket=bucket, Key="a", Body=b"content")
    monkeypatch.setattr(s3_module, "READ_SECONDS", 0.3)
    with fault_proxy(s3.endpoint, {"stall": 1.0}, stall_seconds=2, only=_first("GET")) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert Location(f"s3://{bucket}").read("a") == b"content"
        assert (proxy.injected["stall"], proxy.requests["GET"]) == (1, 2)
