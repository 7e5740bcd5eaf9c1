"""What every request goes through: its name, limits of its body, headers, a line in the log."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from learned_index.serving.config import ServingConfig
from learned_index.serving.metrics import Metrics
from learned_index.serving.refusals import BROKEN, FORBIDDEN, NO_TOKEN, SLOW_BODY, TOO_LARGE, refuse

logger = logging.getLogger(__name__)

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: What it guards.
        config: Limits.
        metrics: Counts requests.
    """

    def __init__(self, app: Any, *, config: ServingConfig, metrics: Metrics) -> None:
        self._app, self._config, self._metrics = app, config, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        name = secrets.token_hex(8)
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"], state["log"] = name, {}
        status, has_begun = BROKEN, False

        async def sending(message: Any) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                own = [(b"x-request-id", name.encode()), *_HEADERS]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        try:
            if not await self._too_large(scope, sending):
                await self._app(scope, self._limited(receive), sending)
        except Exception:
            # Here and not in a handler of the framework, whose answer would lack all headers.
            logger.exception("broken", extra={"request": name})
            if not has_begun:
                told = f"a fault of the server; its log tells of {name}"
                await JSONResponse({"detail": told}, BROKEN)(scope, receive, sending)
        finally:
            self._done(scope, status, time.perf_counter() - began)

    async def _too_large(self, scope: Any, send: Any) -> bool:
        """Refuse a body by what its header says of its length."""
        given = dict(scope["headers"]).get(b"content-length", b"0")
        if not given.isdigit() or int(given[:20]) <= self._limit:
            return False
        answer = JSONResponse({"detail": self._too_long}, TOO_LARGE, {"Connection": "close"})
        await answer(scope, None, send)  # type: ignore[arg-type]
        return True

    @property
    def _limit(self) -> int:
        return int(self._config.max_body_mb * 1e6)

    @property
    def _too_long(self) -> str:
        return f"the request is longer than {self._config.max_body_mb:g} MB; send it in parts"

    def _limited(self, receive: Any) -> Callable[[], Any]:
        """Receive no more than is allowed, and not for ever."""
        size = 0
        until = time.monotonic() + self._config.deadline_s

        async def receiving() -> Any:
            nonlocal size, until
            if size < 0:  # the body is whole: what is waited for is the client that goes away
                return await receive()
            try:
                async with asyncio.timeout(max(until - time.monotonic(), 0.001)):
                    message = await receive()
            except TimeoutError:
                refuse(SLOW_BODY, "the request did not come in time; send it faster, or in parts")
            size += len(message.get("body", b""))
            if size > self._limit:
                refuse(TOO_LARGE, self._too_long, Connection="close")
            if not message.get("more_body"):
                size = -1
            return message

        return receiving

    def _done(self, scope: Any, status: int, seconds: float) -> None:
        # The pattern of the route and not the path, of which there are infinitely many.
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if self._config.log == "errors" and status < 500:
            return
        client = scope.get("client") or ("",)
        logger.info(
            "request",
            extra={
                "request": scope["state"]["request_id"],
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(1000 * seconds, 3),
                "client": client[0],
                **scope["state"]["log"],
            },
        )


def note(request: Request, **facts: Any) -> None:
    """Add facts to the request's line in the log; never what its texts say."""
    request.state.log.update(facts)


def check_token(given: str | None, expected: str | None) -> None:
    """Refuse a request that needs a token and does not bring the right one.

    Raises:
        HTTPException: 403 where the server has none, so that nobody may; 401 for a wrong one.
    """
    if expected is None:
        refuse(
            FORBIDDEN, "this server was started without a token, so nothing can be changed; start "
            "it with --token-file, or LI_SERVE_TOKEN in its environment",
        )  # fmt: skip
    # In a time that does not tell how much of it is right.
    right = secrets.compare_digest((given or "").encode(), expected.encode())
    if not right:
        refuse(
            NO_TOKEN, "this needs the server's token, in the header Authorization: Bearer TOKEN",
            WWW_Authenticate="Bearer",
        )  # fmt: skip
