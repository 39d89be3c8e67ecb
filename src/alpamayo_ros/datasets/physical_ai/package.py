"""The optional package, and what its access to the hub can meet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec

import scipy.spatial.transform

from alpamayo_ros.datasets.errors import DatasetError
from alpamayo_ros.datasets.physical_ai.names import PAGE, REPOSITORY

_OLDEST = (0, 2, 3)
_REMEDY = (
    "the extra `dataset` of alpamayo_ros brings it: pip install 'physical_ai_av>=0.2.3,<0.3' 'scipy>=1.16' "
    "(Python 3.11 or newer)"
)
_HTTP_LIBRARIES = ("httpx", "httpcore", "requests", "urllib3")
"""Whose errors (by the beginning of their module's name) the hub's client lets through, by its version."""


def require_package() -> None:
    """Raise DatasetError unless physical_ai_av is there, new enough, beside a scipy that it works with."""
    if find_spec("physical_ai_av") is None:
        raise DatasetError(f"expected NVIDIA's package physical_ai_av, got none; {_REMEDY}")
    found = version("physical_ai_av")
    if tuple(int(part) for part in re.findall(r"\d+", found)[:3]) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise DatasetError(f"expected physical_ai_av {oldest} or newer, got {found}; {_REMEDY}")
    if not hasattr(scipy.spatial.transform, "RigidTransform"):
        raise DatasetError(
            f"expected scipy 1.16 or newer, which physical_ai_av needs, got {scipy.__version__}; {_REMEDY}"
        )


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what the hub's client raises into a DatasetError that says what to do.

    Args:
        doing: what was being done, for the message.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise DatasetError(_gated(doing)) from error
    except errors.LocalTokenNotFoundError as error:
        raise DatasetError(_gated(doing)) from error
    except errors.RevisionNotFoundError as error:
        raise DatasetError(
            f"{doing}: expected a revision (commit, tag or branch) of {REPOSITORY}, got one that it lacks"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DatasetError(_unknown_login(doing)) from error
    except errors.OfflineModeIsEnabled as error:
        raise DatasetError(
            f"{doing}: expected a connection to the hub, got HF_HUB_OFFLINE in the environment"
        ) from error
    except errors.LocalEntryNotFoundError as error:  # what a file that is not here either leads to
        raise DatasetError(_unconnected(doing, error.__cause__ or error)) from error
    except errors.EntryNotFoundError as error:
        raise DatasetError(f"{doing}: expected a file of {REPOSITORY}, got none: {_line(error)}") from error
    except errors.HfHubHTTPError as error:
        if getattr(error.response, "status_code", 0) in (401, 403):
            raise DatasetError(_unknown_login(doing)) from error
        raise DatasetError(f"{doing}: expected an answer of the hub, got {_line(error)}") from error
    except FileNotFoundError as error:  # of the hub's file system
        raise DatasetError(f"{doing}: expected a file of {REPOSITORY}, got none: {_line(error)}") from error
    except Exception as error:
        if not type(error).__module__.startswith(_HTTP_LIBRARIES):
            raise
        raise DatasetError(_unconnected(doing, error)) from error


def _gated(doing: str) -> str:
    from huggingface_hub import get_token

    licence = f"accept NVIDIA's licence with it on {PAGE}"
    if get_token() is None:
        return (
            f"{doing}: expected a login, got none: the data set is gated. Make an account on the hub, "
            f"{licence}, make an access token, and give it to `hf auth login` (or set HF_TOKEN)"
        )
    return (
        f"{doing}: expected a login that may read the data set, got one that may not: {licence}, "
        "and let its token read gated repositories (`hf auth whoami` says whose login this is)"
    )


def _unknown_login(doing: str) -> str:
    return (
        f"{doing}: expected a login that the hub knows, got one that it refuses: is the token still valid? "
        "`hf auth whoami` says, `hf auth login` replaces it"
    )


def _unconnected(doing: str, error: BaseException) -> str:
    return (
        f"{doing}: expected a connection to the hub, got {type(error).__name__}: {_line(error)}; the same "
        "command goes on where it stopped"
    )


def _line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
