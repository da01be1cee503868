"""What is told of each act and request: a JSON line and counts. Codes, rules and record ids; never a personal value.

The metrics of one app stand in a registry of its own: several apps in one process do not mix.
"""

from __future__ import annotations

import os
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_log = structlog.get_logger("mandate")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 300, 1000, 4000)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Watching:
    """Logs one line per governed action and per request, and counts them."""

    def __init__(self) -> None:
        """Make the metrics; their labels are few and known, never a value of a caller's choice."""
        self.registry = registry = CollectorRegistry()
        self._actions = Counter(
            "mandate_actions", "Governed acts answered.", ["act", "outcome", "code"], registry=registry
        )
        self._strangers = Counter(
            "mandate_strangers_refused",
            "Refusals of callers without standing; they are counted here and nowhere recorded (S006).",
            ["act", "code"],
            registry=registry,
        )
        self._action_seconds = Histogram(
            "mandate_action_seconds",
            "From asking the door to its answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._set_size = Histogram(
            "mandate_set_size", "Acts in one transaction of the door.", buckets=_SIZES, registry=registry
        )
        self._set_seconds = Histogram(
            "mandate_set_seconds", "One transaction of the door.", buckets=_SECONDS, registry=registry
        )
        self._requests = Counter(
            "mandate_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "mandate_request_seconds", "From a request to its answer.", buckets=_SECONDS, registry=registry
        )
        self._reads = Counter(
            "mandate_reads", "Reads of ordinary state, by kind of caller (S021).", ["by"], registry=registry
        )
        self._waiting = Gauge(
            "mandate_door_waiting",
            "Acts waiting for the door's writer.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._cosignatures = Counter(
            "mandate_cosignatures",
            "Checkpoints a witness was asked to sign, by what came of it.",
            ["witness", "outcome"],
            registry=registry,
        )
        self._cosigned_size = Gauge(
            "mandate_cosigned_size",
            "Log size a witness signed last.",
            ["witness"],
            registry=registry,
            multiprocess_mode="max",
        )
        self._webhook_deliveries = Counter(
            "mandate_webhook_deliveries",
            "Batches posted to a webhook, by what came of it.",
            ["webhook", "outcome"],
            registry=registry,
        )
        self._webhook_behind = Gauge(
            "mandate_webhook_behind",
            "Effects that a webhook has not taken yet, looked for among the next 100,000.",
            ["webhook"],
            registry=registry,
            multiprocess_mode="max",
        )
        self._webhook_failing = Gauge(
            "mandate_webhook_failing_seconds",
            "For how long no attempt has been taken; 0 where the last one was.",
            ["webhook"],
            registry=registry,
            multiprocess_mode="max",
        )
        self._webhook_lost = Gauge(
            "mandate_webhook_lost",
            "Effects that were purged or erased before a webhook had taken them.",
            ["webhook"],
            registry=registry,
            multiprocess_mode="max",
        )
        self._measured: dict[str, Gauge] = {}
        self._children: dict[Any, Any] = {}

    def _measure(self, name: str, help_text: str, value: float) -> None:
        """Set a gauge that is not there before it is measured: a process that never does tells no 0."""
        gauge = self._measured.get(name)
        if gauge is None:
            gauge = self._measured[name] = Gauge(
                name, help_text, registry=self.registry, multiprocess_mode="max"
            )
        gauge.set(value)

    def _child(self, counter: Counter, *labels: str) -> Any:
        """The counter of these labels; looked up once."""
        key = (counter, labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = counter.labels(*labels)
        return child

    def acted(
        self,
        *,
        act: str,
        outcome: str,
        code: str,
        rule: str,
        record_id: str,
        request_id: str,
        seconds: float,
        stranger: bool,
    ) -> None:
        """One action was answered; `stranger`: with a refusal that is only counted (S006)."""
        self._child(self._actions, act, outcome, code).inc()
        self._action_seconds.observe(seconds)
        if stranger:
            self._child(self._strangers, act, code).inc()
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

    def ran(self, *, acts: int, seconds: float, waiting: int) -> None:
        """One set of so many acts went through; so many wait for the next."""
        self.waits(waiting)
        self._set_size.observe(acts)
        self._set_seconds.observe(seconds)

    def waits(self, acts: int) -> None:
        """So many acts wait for the door's writer, also where the set before them failed."""
        self._waiting.set(acts)

    def read(self, *, by: str) -> None:
        """Ordinary state was read by a caller of this kind."""
        self._child(self._reads, by).inc()

    def cosigned(self, witness: str, outcome: str, size: int | None = None) -> None:
        """A witness of the settings was asked; `size` is what it signed, if it did."""
        self._child(self._cosignatures, witness, outcome).inc()
        if size is not None:
            self._cosigned_size.labels(witness).set(size)

    def sequenced(self, stalled: bool) -> None:
        """The sequencer took a turn; `stalled`: the log may not go on as it is."""
        self._measure(
            "mandate_log_stalled",
            "1 while the log may not go on as it is, and the log at level critical says why; 0 says nothing of a database out of "
            "reach or of a sequencer elsewhere: see mandate_log_waiting_seconds.",
            stalled,
        )

    def log_waits(self, seconds: float) -> None:
        """The oldest record without an entry in the log is so old; 0 where none waits."""
        self._measure(
            "mandate_log_waiting_seconds",
            "Age of the oldest record that waits for its entry in the log, 0 where none waits; while the database is out of "
            "reach, the age that one may have.",
            seconds,
        )

    def webhook_posted(self, webhook: str, outcome: str) -> None:
        """A batch was posted; `outcome` is taken, or the kind of failure in a word."""
        self._child(self._webhook_deliveries, webhook, outcome).inc()

    def webhook_stands(self, webhook: str, behind: int, failing_seconds: float, lost: int) -> None:
        """So many effects wait for this webhook, for so long it has been failing, and so many it will never get."""
        self._webhook_lost.labels(webhook).set(lost)
        self._webhook_behind.labels(webhook).set(behind)
        self._webhook_failing.labels(webhook).set(failing_seconds)

    def answered(
        self, *, method: str, route: str, status: int, request_id: str, seconds: float, timed: bool
    ) -> None:
        """One request was answered; `route` is the template, not the path. Not `timed`: a stream, which lasts."""
        if method not in _METHODS:
            method = "other"
        self._child(self._requests, method, route, str(status)).inc()
        if timed:
            self._request_seconds.observe(seconds)
        _log.info(
            "request",
            method=method,
            route=route,
            status=status,
            request_id=request_id,
            ms=round(seconds * 1000, 2),
        )

    def metrics(self) -> bytes:
        """Every metric in the text format of Prometheus; of all processes, where several serve."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)
