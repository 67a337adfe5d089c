"""nginx as an upstream that is stopped, killed and started again."""

import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.kit.gateway import free_port
from tests.kit.programs import need
from tests.processes.supervised import until

BODY = "hello"
LARGE = 200 * 1000
CONFIGURATION = """
daemon off; pid FOLDER/pid; error_log FOLDER/error.log; worker_processes 1;
events {}
http {
  access_log off; keepalive_requests 1000000;
  client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c;
  uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;
  server {
    listen 127.0.0.1:PORT;
    location / { add_header X-Server PORT; return 200 "SAYS"; }
    location /large { alias FOLDER/large; limit_rate 400k; limit_rate_after 50k; }
  }
}
"""


class Nginx:
    """One server. Its port stays when it is stopped."""

    def __init__(self, folder: Path, says: str = BODY) -> None:
        self._program = need("nginx")
        self.port = free_port()
        self._folder = folder / f"nginx-{self.port}"
        self._folder.mkdir()
        (self._folder / "large").write_bytes(bytes(LARGE))
        text = CONFIGURATION.replace("FOLDER", str(self._folder)).replace("PORT", str(self.port))
        text = text.replace("SAYS", says)
        self._file = self._folder / "nginx.conf"
        self._file.write_text(text)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.stop(signal.SIGTERM)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._file), "-e", str(self._folder / "error.log")],
            stdin=subprocess.DEVNULL,
        )
        until(self._accepts, "nginx does not start")

    def stop(self, how: signal.Signals) -> None:
        """SIGQUIT: it ends what it has begun. SIGTERM: at once. Both close the idle connections."""
        self._process.send_signal(how)
        self._process.wait(20)

    def _accepts(self) -> bool:
        assert self._process.poll() is None, (self._folder / "error.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True
