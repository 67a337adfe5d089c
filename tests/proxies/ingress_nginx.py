"""The nginx.conf that ingress-nginx makes of an Ingress's annotations, as far as they concern this example.

After rootfs/etc/nginx/template/nginx.tmpl of its controller 1.12: the authentication's own location, and what
it adds to those of the Ingress's paths. An annotation that is not known here is a fault of the example.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.proxies.running import EXAMPLES

KNOWN = frozenset(
    {"auth-url", "auth-response-headers", "auth-signin", "auth-signin-redirect-param", "proxy-buffer-size"}
)
PREFIX = "nginx.ingress.kubernetes.io/"
CONF = """
events {}
http {
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  underscores_in_headers off;
  server {
    listen 127.0.0.1:8080;
    SERVER
  }
}
"""
AUTH = """
    location = /_external-auth-NUMBER {
      internal;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Forwarded-Proto "";
      proxy_set_header X-Request-ID $request_id;
      proxy_set_header Host HOST;
      proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Sent-From "nginx-ingress-controller";
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Auth-Request-Redirect $request_uri;
      proxy_buffering off;
      proxy_buffer_size SIZE;
      proxy_buffers 4 SIZE;
      proxy_pass_request_headers on;
      proxy_http_version 1.1;
      proxy_pass http://127.0.0.1:PORT/verify;
    }
"""
SIGN_IN = """
    location @auth-NUMBER {
      internal;
      add_header Set-Cookie $auth_cookie;
      return 302 URL?PARAM=$scheme://$http_host$request_uri;
    }
"""
LOCATION = """
    location PATH {
      ASKED
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Request-ID $request_id;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Scheme $scheme;
      proxy_set_header X-Scheme $scheme;
      proxy_set_header X-Original-Forwarded-For $http_x_forwarded_for;
      proxy_set_header Proxy "";
      CUSTOM
      proxy_http_version 1.1;
      proxy_pass http://127.0.0.1:PORT;
    }
"""


def files() -> dict[str, str]:
    return {"nginx.conf": CONF.replace("SERVER", "".join(_server()))}


def objects(kind: str) -> list[dict[str, Any]]:
    found = yaml.safe_load_all((EXAMPLES / "ingress-nginx/ingress.yaml").read_text())
    return [each for each in found if each["kind"] == kind]


def annotations(ingress: dict[str, Any]) -> dict[str, str]:
    given = ingress["metadata"].get("annotations", {})
    found = {name.removeprefix(PREFIX): value for name, value in given.items()}
    assert found.keys() <= KNOWN and all(isinstance(value, str) for value in found.values()), found
    return found


def _server() -> Iterator[str]:
    [headers] = [each["data"] for each in objects("ConfigMap")]
    custom = "\n      ".join(f'proxy_set_header {name} "{value}";' for name, value in headers.items())
    for number, ingress in enumerate(objects("Ingress")):
        said = annotations(ingress)
        asked = ""
        if "auth-url" in said:
            url = urlsplit(said["auth-url"])
            assert url.path == "/verify" and not url.query
            size = said["proxy-buffer-size"]
            yield _filled(AUTH, NUMBER=number, HOST=url.hostname, SIZE=size, PORT=url.port)
            asked = "\n      ".join(_asked(number, said))
        if "auth-signin" in said:
            param = said["auth-signin-redirect-param"]
            yield _filled(SIGN_IN, NUMBER=number, URL=said["auth-signin"], PARAM=param)
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                assert path["pathType"] == "Prefix"
                port = path["backend"]["service"]["port"]["number"]
                place = path["path"] if path["path"] == "/" else f"{path['path']}/"
                yield _filled(LOCATION, PATH=place, ASKED=asked, CUSTOM=custom, PORT=port)


def _asked(number: int, said: dict[str, str]) -> Iterator[str]:
    yield f"auth_request /_external-auth-{number};"
    yield "auth_request_set $auth_cookie $upstream_http_set_cookie;"
    for place, name in enumerate(said["auth-response-headers"].split(",")):
        variable = name.strip().lower().replace("-", "_")
        yield f"auth_request_set $authHeader{place} $upstream_http_{variable};"
        yield f"proxy_set_header '{name.strip()}' $authHeader{place};"
    if "auth-signin" in said:
        yield f"error_page 401 = @auth-{number};"


def _filled(text: str, **values: object) -> str:
    for name, value in values.items():
        text = text.replace(name, str(value))
    return text
