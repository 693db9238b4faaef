"""MLflow without its log lines, for as long as we use it and no longer."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# MLflow logs migrations at INFO, and database errors with a traceback before it raises them
_LOGGERS = tuple(logging.getLogger(name) for name in ("mlflow.store", "alembic"))

_lock = threading.Lock()
_users = 0
_levels: tuple[int, ...] = ()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence MLflow's stores within the block; several threads may be in it at once."""
    global _users, _levels
    with _lock:
        if _users == 0:
            _levels = tuple(logger.level for logger in _LOGGERS)
            for logger in _LOGGERS:
                logger.setLevel(logging.CRITICAL)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for logger, level in zip(_LOGGERS, _levels, strict=True):
                    logger.setLevel(level)
