"""What is told of each act and request: a JSON line and a count. Codes, rules and record ids; never a personal value."""

from __future__ import annotations

import structlog

_log = structlog.get_logger("mandate")


class Watching:
    """Logs one line per governed action."""

    def acted(
        self, *, act: str, outcome: str, code: str, rule: str, record_id: str, request_id: str, seconds: float
    ) -> None:
        """One action was answered."""
        _log.info(
            "act",
            act=act,
            outcome=outcome,
            code=code,
            rule=rule,
            record_id=record_id,
            request_id=request_id,
            ms=round(seconds * 1000, 2),
        )

    def answered(self, *, method: str, route: str, status: int, request_id: str, seconds: float) -> None:
        """One request was answered; `route` is the template, not the path."""
        _log.info(
            "request",
            method=method,
            route=route,
            status=status,
            request_id=request_id,
            ms=round(seconds * 1000, 2),
        )
