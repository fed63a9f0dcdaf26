"""The numbers of the operations page for machines: Prometheus at ``/metrics``, JSON or CSV in the admin API."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, Field

from worker.figures.measures import MEANINGS, Measure, measures
from worker.figures.overview import read_overview
from worker.rows.database import database_now
from worker.views.rendering import inert
from worklist.api_access import ApiReader, api_reader
from worklist.site import Site, site_of

router = APIRouter(tags=["admin"])
OpenedSite = Annotated[Site, Depends(site_of)]
Reader = Annotated[ApiReader, Depends(api_reader)]


class MetricsQuery(BaseModel):
    """The one parameter there is."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["json", "csv"] = Field("json", description="csv: a header and one line per number")


class MetricsRow(BaseModel):
    """One number."""

    name: str = Field(description="what it is called in Prometheus, too")
    labels: dict[str, str] = Field(description="what it is about: queue, destination, stage, source ...")
    value: float = Field(description="as of now")
    meaning: str = Field(description="what it counts")


class MetricsPage(BaseModel):
    """All of them; there are no further pages."""

    rows: list[MetricsRow]


@router.get(
    "/api/v1/metrics",
    operation_id="list_metrics",
    response_model=None,
    responses={200: {"model": MetricsPage, "content": {"text/csv": {}}, "description": "All numbers"}},
)
def api_metrics(
    site: OpenedSite,
    reader: Reader,
    query: Annotated[MetricsQuery, Query()],
) -> Response:
    """The numbers of the operations page."""
    numbers = _measures(site)
    if query.format == "json":
        rows = [MetricsRow(**vars(item), meaning=MEANINGS[item.name]).model_dump() for item in numbers]
        return JSONResponse({"rows": rows})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(MetricsRow.model_fields)
    for item in numbers:
        labels = "; ".join(f"{name}={value}" for name, value in item.labels.items())
        writer.writerow([item.name, inert(labels), item.value, MEANINGS[item.name]])
    return Response(stream.getvalue(), media_type="text/csv; charset=utf-8")


@router.get("/metrics", include_in_schema=False)
def prometheus(site: OpenedSite, reader: Reader) -> Response:
    """The same for Prometheus, which sends its token as ``Authorization: Bearer``."""
    registry = CollectorRegistry()
    registry.register(_Numbers(_measures(site)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _measures(site: Site) -> list[Measure]:
    with site.reading() as session:
        return list(measures(read_overview(session, site.settings, database_now(session))))


class _Numbers(Collector):
    def __init__(self, numbers: Iterable[Measure]) -> None:
        self._numbers = list(numbers)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield one family per name."""
        for name, group in groupby(self._numbers, key=lambda item: item.name):
            items = list(group)
            family = GaugeMetricFamily(name, MEANINGS[name], labels=list(items[0].labels))
            for item in items:
                family.add_metric(list(item.labels.values()), item.value)
            yield family
