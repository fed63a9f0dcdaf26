"""Sends mutated requests to a real worklist page over raw sockets and says what came back, and what should not have."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import hypothesis
from http_mutations import Request, Visitor, mutated_request

END_SECONDS = 20.0
CONNECTIONS = 4
_FORMS_WITH_PATIENT = ("/read", "/review", "/change/{deed}")
"""Their errors stand on the page of the study, the patient in sight, as they should."""


@dataclass
class HttpReport:
    """What became of everything sent."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    """0 = the connection ended without an answer, as it may where the request was damaged."""
    by_path: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    """``seed/number: what`` of answers that must not be."""
    longest_seconds: float = 0.0
    seconds: float = 0.0

    def add(self, other: HttpReport) -> None:
        """Take another part in."""
        self.sent += other.sent
        self.statuses += other.statuses
        self.by_path += other.by_path
        self.findings += other.findings
        self.longest_seconds = max(self.longest_seconds, other.longest_seconds)


def fuzz(
    address: tuple[str, int],
    seed: int,
    count: int,
    routes: Sequence[tuple[str, str]],
    known: Mapping[str, Sequence[str]],
    visitor: Visitor,
    marks: Sequence[bytes],
) -> HttpReport:
    """Send so many requests; `marks` are lower-case words that only the patients' own pages may show."""
    report, lock, numbers = HttpReport(), threading.Lock(), iter(range(count))
    began = time.monotonic()

    def work(_: int) -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            request = mutated_request(random.Random(f"{seed}/{number}"), routes, known, visitor)
            found = _judged(address, request, f"{seed}/{number}", marks)
            with lock:
                report.add(found)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in [pool.submit(work, number) for number in range(CONNECTIONS)]:
            done.result()
    report.seconds = time.monotonic() - began
    return report


def fuzz_api(url: str, seed: int, examples: int, visitor: Visitor, marks: Sequence[bytes]) -> HttpReport:
    """Ask every operation of the OpenAPI description so often, by its rules and against them (schemathesis)."""
    import schemathesis  # takes as long as all of ours, and nobody else needs it
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import response_schema_conformance

    report, began = HttpReport(), time.monotonic()
    schema = schemathesis.openapi.from_url(f"{url}/api/openapi.json")
    limits = hypothesis.settings(
        max_examples=examples, database=None, deadline=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    for operation in (found.ok() for found in schema.get_all_operations()):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @hypothesis.seed(seed)
            @limits
            @hypothesis.given(case=operation.as_strategy(mode))
            def ask(case: Any) -> None:
                stranger = report.sent % 5 == 0
                if not stranger:
                    case.headers.pop("Authorization", None)  # a wrong token is refused even where a cookie is right
                answer = case.call(cookies={} if stranger else {"cxr_session": visitor.cookie}, timeout=END_SECONDS)
                checks = [not_a_server_error, *([response_schema_conformance] if answer.status_code == 200 else [])]
                case.validate_response(answer, checks=checks)
                report.add(HttpReport(1, Counter([answer.status_code]), Counter([case.path])))
                report.longest_seconds = max(report.longest_seconds, answer.elapsed)
                named = any(mark in answer.content.lower() for mark in marks)
                assert not (named and (stranger or answer.status_code >= 400)), "a patient in the answer"

            with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # what takes nothing cannot be asked wrongly
                ask()
    report.seconds = time.monotonic() - began
    return report


def _judged(address: tuple[str, int], request: Request, name: str, marks: Sequence[bytes]) -> HttpReport:
    report, began = HttpReport(1), time.monotonic()
    try:
        status, answer = _asked(address, request)
    except TimeoutError:
        status, answer = 0, b""
        report.findings.append(f"{name}: {request.path}: no answer and no end within {END_SECONDS:g} s")
    report.longest_seconds = time.monotonic() - began
    report.statuses[status] += 1
    report.by_path[request.path] += 1
    problems = []
    if status >= 500:
        problems.append("a server error")
    if status == 0 and request.whole and not report.findings:
        problems.append("no answer to a whole request")
    if b"Traceback" in answer:
        problems.append("a traceback in the answer")
    refused = status >= 400 and not request.path.endswith(_FORMS_WITH_PATIENT)
    if (request.anonymous or refused) and any(mark in answer.lower() for mark in marks):
        problems.append("a patient in the answer")
    report.findings += [f"{name}: {request.path}: {problem} ({status})" for problem in problems]
    return report


def _asked(address: tuple[str, int], request: Request) -> tuple[int, bytes]:
    """Return status and body; 0 where the connection ended without an answer.

    Raises
    ------
    TimeoutError
        Neither came in time.
    """
    with socket.create_connection(address, END_SECONDS) as connection:
        connection.settimeout(END_SECONDS)
        try:
            connection.sendall(request.content)
            if not request.whole:
                connection.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(connection, method=request.content.split(b" ")[0].decode("latin-1"))
            answer.begin()
            return answer.status, answer.read()
        except (ConnectionError, http.client.HTTPException):
            return 0, b""
