"""What a failure of the store means: which may pass by themselves, and what the user can do about the others."""

import errno
import os
import re
import socket
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from http.client import HTTPException
from urllib.parse import urlsplit

from hydrapicker.errors import StoreAccessError, StoreChangedError, StoreError

__all__ = [
    "GIVEN_BY", "TRIED", "Fault", "HttpStatusError", "as_store_error", "code_of", "fault_of", "without_secrets",
]  # fmt: skip

TRIED = "tried "
"""How the note begins with which :func:`~hydrapicker.storage.retry.retried` says how often and how long it tried."""


GIVEN_BY = "--store or HYDRAPICKER_STORE"
"""How the user says where a store lies."""


class Fault(Enum):
    """What kind of failure it is; only ``TRANSIENT`` ones are worth another attempt."""

    TRANSIENT = auto()
    ABSENT = auto()
    NO_BUCKET = auto()
    BAD_CREDENTIALS = auto()
    EXPIRED_CREDENTIALS = auto()
    WRONG_REGION = auto()
    DENIED = auto()
    CHANGED = auto()
    OTHER = auto()


class HttpStatusError(OSError):
    """An answer of an S3 server that is a refusal, read without botocore.

    Attributes:
        status: The HTTP status, 400 or more.
        code: The ``<Code>`` of the XML body, or an empty string where there was none.
        message: The ``<Message>`` of the XML body, or an empty string.
    """

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(f"HTTP status {status} {code} {message}".strip())
        self.status, self.code, self.message = status, code, message

    def __reduce__(self) -> tuple[type["HttpStatusError"], tuple[int, str, str]]:
        return type(self), (self.status, self.code, self.message)  # OSError would hand on the one line only


def _each(fault: Fault, names: str) -> dict[str, Fault]:
    return dict.fromkeys(names.split(), fault)


_CODES = (
    _each(
        Fault.TRANSIENT,
        "SlowDown ServiceUnavailable InternalError RequestTimeout RequestTimeoutException Throttling Throttled "
        "ThrottlingException ThrottledException RequestThrottled RequestThrottledException RequestLimitExceeded "
        "BandwidthLimitExceeded TooManyRequestsException TransactionInProgressException OperationAborted "
        "ConditionalRequestConflict IncompleteBody BadDigest XAmzContentSHA256Mismatch XAmzContentChecksumMismatch",
    )
    | _each(Fault.ABSENT, "NoSuchKey NoSuchUpload NoSuchVersion")
    | _each(Fault.NO_BUCKET, "NoSuchBucket InvalidBucketName")
    | _each(
        Fault.BAD_CREDENTIALS,
        "InvalidAccessKeyId SignatureDoesNotMatch NotSignedUp InvalidSecurity InvalidClientTokenId "
        "UnrecognizedClientException AuthorizationHeaderMalformed AuthFailure",
    )
    | _each(
        Fault.EXPIRED_CREDENTIALS,
        "ExpiredToken ExpiredTokenException RequestExpired TokenRefreshRequired InvalidToken",
    )
    | _each(Fault.WRONG_REGION, "PermanentRedirect IllegalLocationConstraintException")
    | _each(Fault.DENIED, "AccessDenied AllAccessDisabled AccountProblem Forbidden")
    | _each(Fault.CHANGED, "PreconditionFailed")
    | _each(Fault.OTHER, "RequestTimeTooSkewed")
)
"""The error codes of S3 (Amazon's list and what servers like it send)."""

_STATUS = dict.fromkeys((408, 425, 429, 500, 502, 503, 504, 509), Fault.TRANSIENT) | {
    401: Fault.BAD_CREDENTIALS,
    403: Fault.DENIED,
    404: Fault.ABSENT,
    412: Fault.CHANGED,
}
"""What the HTTP status alone says, where no code that we know came with it."""

_TYPES = (
    _each(
        Fault.BAD_CREDENTIALS,
        "botocore.NoCredentialsError botocore.PartialCredentialsError botocore.CredentialRetrievalError "
        "botocore.ProfileNotFound botocore.ConfigParseError",
    )
    | _each(
        Fault.EXPIRED_CREDENTIALS,
        "botocore.UnauthorizedSSOTokenError botocore.SSOTokenLoadError botocore.TokenRetrievalError "
        "botocore.LoginTokenLoadError",
    )
    | _each(Fault.OTHER, "botocore.SSLError botocore.ProxyConnectionError urllib3.SSLError aiohttp.ClientSSLError")
    | _each(
        Fault.TRANSIENT,
        "botocore.HTTPClientError botocore.ConnectionError botocore.IncompleteReadError botocore.ChecksumError "
        "botocore.FlexibleChecksumError botocore.ResponseParserError aiohttp.ClientPayloadError "
        "aiohttp.ClientConnectionError urllib3.ProtocolError urllib3.TimeoutError urllib3.IncompleteRead "
        "urllib3.MaxRetryError",
    )
)
"""Types of errors, by package and name: so nothing of theirs is imported before it is needed."""

_ERRNO = dict.fromkeys(
    (
        errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH,
        errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.EAGAIN, errno.EINTR, errno.ESTALE,
    ),
    Fault.TRANSIENT,
) | {errno.ENOENT: Fault.ABSENT, errno.EACCES: Fault.DENIED, errno.EPERM: Fault.DENIED}  # fmt: skip


def fault_of(error: BaseException) -> Fault:
    """Tell what kind of failure an error is, by it or by what caused it.

    Parameters
    ----------
    error : BaseException
        Of botocore, aiohttp, urllib3, fsspec, the operating system or ourselves.

    Returns
    -------
    Fault
        ``OTHER`` for all that is not known, which is never tried again.
    """
    for status, code, message in _answered(error):  # what the server said goes before what libraries made of it
        if code == "AuthorizationHeaderMalformed" and "region" in message:  # and not the key, say
            return Fault.WRONG_REGION
        return _CODES.get(code) or _STATUS.get(status, Fault.OTHER)
    return next((fault for fault in map(_by_type, _chain(error)) if fault is not None), Fault.OTHER)


def code_of(error: BaseException) -> str:
    """Give the error code that an S3 server answered (its HTTP status where it gave none); empty without an answer."""
    return next((code or str(status) for status, code, _ in _answered(error)), "")


def as_store_error(error: BaseException, doing: str, url: str, given_by: str = GIVEN_BY) -> StoreError:
    """Put a failure in one line that says what to do about it.

    Parameters
    ----------
    error : BaseException
        What went wrong.
    doing : str
        What could not be done, such as ``read`` or ``write``.
    url : str
        To which file or folder, as a user would type it.
    given_by : str, optional
        How the user said where that is.

    Returns
    -------
    StoreError
        To be raised from ``error``: a :class:`~hydrapicker.errors.StoreAccessError` where the place is not there or
        not open to us, a :class:`~hydrapicker.errors.StoreChangedError` where somebody else was faster.
    """
    fault = fault_of(error)
    on_s3 = url.startswith(("s3://", "s3a://"))
    if fault is Fault.CHANGED:
        what, remedy = "somebody else wrote it in the meantime; nothing was replaced", "run the same command again"
    else:
        what, remedy = _on_s3(error, fault, url, given_by) if on_s3 else (_reason(error), "")
    kind = {Fault.CHANGED: StoreChangedError, Fault.TRANSIENT: StoreError, Fault.ABSENT: StoreError}.get(fault)
    if kind is None:
        kind = StoreError if fault is Fault.OTHER else StoreAccessError
    notes = [note for link in _chain(error) for note in getattr(link, "__notes__", ()) if note.startswith(TRIED)]
    tried = f", {notes[0]}" if notes else ""
    return kind(f"cannot {doing} {url}: {what}{tried}; {remedy or _remedy(doing, given_by)}")


def without_secrets(text: str) -> str:
    """Take out of the URLs in a text what may be secret: user and password, and the query, where signatures are.

    A password may hold slashes, as the secret keys of AWS do, so all up to the last ``@`` goes where a colon shows
    that there is one.
    """
    text = re.sub(r"://(?:[^/@:\s]*:\S*|[^/\s]*)@", "://", text)
    return re.sub(r"(://[^\s?]*)\?[^\s'\")]*=[^\s'\")]*", r"\1", text)


def _remedy(doing: str, given_by: str) -> str:
    if doing in ("write", "remove"):
        place = f"make room or permission there, or choose another place with {given_by}"
        return f"{place}, then run the same command again"
    return f"check {given_by}"


def _on_s3(error: BaseException, fault: Fault, url: str, given_by: str) -> tuple[str, str]:
    """Say what happened and what to do; nothing for the general remedy."""
    server, bucket, reason = _server(), url.split("/")[2], _reason(error)
    again = "then run the same command again"
    if fault is Fault.NO_BUCKET:
        return (
            f"there is no bucket {bucket} on {server}",
            f"make the bucket, or check {given_by} and AWS_ENDPOINT_URL",
        )
    if fault is Fault.BAD_CREDENTIALS and not _answered(error):  # nobody was asked
        return (
            f"no usable AWS credentials ({reason})",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    if fault is Fault.BAD_CREDENTIALS:
        return (
            f"{server} does not accept these AWS credentials ({reason})",
            "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and AWS_ENDPOINT_URL",
        )
    if fault is Fault.EXPIRED_CREDENTIALS:
        return (
            f"the AWS credentials have expired ({reason})",
            "get new ones (aws sso login, or new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN), "
            f"{again}",
        )
    if fault is Fault.WRONG_REGION:
        return (
            f"{server} has bucket {bucket} in another region ({reason})",
            f"set AWS_DEFAULT_REGION to the bucket's, {again}",
        )
    if fault is Fault.DENIED:
        return (
            f"these AWS credentials are not allowed to do this ({reason})",
            f"ask who owns bucket {bucket} for the permission, or use other credentials",
        )
    if fault is Fault.TRANSIENT:
        return f"{server} does not answer as it should ({reason})", f"check the network and AWS_ENDPOINT_URL, {again}"
    if "RequestTimeTooSkewed" in reason:
        return reason, f"set the clock of this machine, {again}"
    return ("no such file" if fault is Fault.ABSENT else reason), ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        reason = getattr(link, "reason", None)  # where urllib3 keeps what caused a MaxRetryError
        cause = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        link = cause or (reason if isinstance(reason, BaseException) else None)


def _answer(error: BaseException) -> tuple[int, str, str] | None:
    """Give status, code and message, where the error is an answer of an S3 server."""
    if isinstance(error, HttpStatusError):
        return error.status, error.code, error.message
    response = getattr(error, "response", None)
    if not isinstance(response, Mapping) or "Error" not in response:
        return None
    code = str(response["Error"].get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(code) if code.isdigit() else int(status), code, str(response["Error"].get("Message", ""))


def _by_type(error: BaseException) -> Fault | None:
    if isinstance(error, StoreChangedError):
        return Fault.CHANGED
    for cls in type(error).__mro__:
        fault = _TYPES.get(f"{cls.__module__.partition('.')[0]}.{cls.__name__}")
        if fault is not None:
            return fault
    if isinstance(error, TimeoutError | ConnectionError | HTTPException | socket.gaierror):
        return Fault.TRANSIENT
    if isinstance(error, OSError) and error.errno is not None:
        return _ERRNO.get(error.errno)
    if isinstance(error, FileNotFoundError):
        return Fault.ABSENT
    return Fault.DENIED if isinstance(error, PermissionError) else None


def _answered(error: BaseException) -> list[tuple[int, str, str]]:
    """Collect what servers answered: status, code and message; the last one first."""
    return [answer for answer in map(_answer, _chain(error)) if answer is not None]


def _reason(error: BaseException) -> str:
    """Say in one line what went wrong, without what a URL may hold of passwords and signatures."""
    text = str(getattr(error, "strerror", None) or error or type(error).__name__)
    for status, code, message in _answered(error)[:1]:
        text = f"{code or status}: {message}" if message else code or f"HTTP status {status}"
    text = re.sub(r"\?[^\s'\")]*=[^\s'\")]*", "", " ".join(text.split()))  # also of a path without its host
    return without_secrets(text).rstrip(".")


def _server() -> str:
    """Name the S3 server that was asked: host and port only, as a URL may hold a password."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    host = urlsplit(endpoint).netloc.rpartition("@")[2]
    return f"the S3 server {host}" if host else "the S3 server"
