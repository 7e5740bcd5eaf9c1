"""Requests that are not answered: why, as a status and one line."""

from __future__ import annotations

from typing import NoReturn

from fastapi import HTTPException

from learned_index.errors import InputError, LearnedIndexError, StorageError

BAD_REQUEST, NO_TOKEN, FORBIDDEN, UNKNOWN, CONFLICT = 400, 401, 403, 404, 409
TOO_LARGE, INVALID, TOO_MANY, BROKEN, UNAVAILABLE, TOO_LATE = 413, 422, 429, 500, 503, 504
SLOW_BODY = 408


def refuse(status: int, why: str, **headers: str) -> NoReturn:
    """Answer with a status, and say why in one line.

    Args:
        status: Of HTTP.
        why: What was got, what was expected, how to mend it.
        **headers: Of the answer; an underscore stands for a hyphen.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raise HTTPException(status, " ".join(why.split()), headers=named or None)


def refusal(error: LearnedIndexError) -> HTTPException:
    """What a request gets for an error of this package.

    No path of this machine is told: whoever runs the server finds it in the log.
    """
    if isinstance(error, StorageError):
        return HTTPException(
            UNAVAILABLE, "the change could not be saved, so nothing was changed; the log says why"
        )
    if isinstance(error, InputError):
        return HTTPException(INVALID, " ".join(str(error).split()))
    return HTTPException(UNAVAILABLE, "the model cannot do this now; the log says why")
