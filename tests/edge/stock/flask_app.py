"""A Flask application as people write them; gunicorn serves it in the tests."""

from collections.abc import Iterator

from flask import Flask, Response, jsonify, request

app = Flask(__name__)


@app.get("/gunicorn/hello")
def hello() -> Response:
    reply = jsonify(
        path=request.path,
        query=request.query_string.decode(),
        host=request.host,
        user=request.headers.get("X-User-Id"),
        client=request.headers.get("X-Forwarded-For"),
    )
    reply.set_cookie("one", "1")
    reply.set_cookie("two", "2")
    return reply


@app.post("/gunicorn/echo")
def echo() -> Response:
    return Response(request.get_data(), content_type=request.content_type)


@app.get("/gunicorn/stream")
def stream() -> Response:
    def parts() -> Iterator[str]:
        for number in range(5):
            yield f"part {number}\n"

    return Response(parts(), content_type="text/plain")


@app.get("/gunicorn/empty")
def empty() -> tuple[str, int]:
    return "", 204


@app.get("/gunicorn/broken")
def broken() -> Response:
    raise RuntimeError("as it happens")
