"""GET /openapi.json: the document of this API, made from the very table that is served."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from gateway.identity.web import Call, Endpoint, Reply, answer

PATH = "/openapi.json"


class DocumentSaid(BaseModel):
    model_config = ConfigDict(extra="allow")

    openapi: str
    paths: dict[str, Any]


def endpoint(document: Callable[[], dict[str, Any]]) -> Endpoint:
    """`document` is asked for later: it describes this endpoint too."""

    async def openapi(call: Call) -> Reply:
        return answer(200, document())

    return Endpoint("GET", PATH, openapi, "This document", answers={200: DocumentSaid})
