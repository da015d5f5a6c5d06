"""A language model's stand-in: an OpenAI-compatible server on a free loopback port.

It answers what DSPy's ChatAdapter asks for: each output field that the prompt names, in order, with
a value set by the test or made from the inputs. It never learns anything and is never random.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MARK = re.compile(r"\[\[ ## (\w+) ## \]\]")


class StandIn:
    """Use as a context manager."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.values: dict[str, str] = {}
        self.answer: Callable[[dict[str, Any]], tuple[int, str]] | None = None
        self.status = 200
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet for head and body: two would wait for each other's ack

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                request = json.loads(self.rfile.read(length))
                owner.requests.append(request)
                owner.authorizations.append(self.headers.get("Authorization"))
                status, body = owner.status, owner.body(request)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if status == 429:
                    self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def body(self, request: dict[str, Any]) -> bytes:
        if self.status != 200:
            error = {"message": f"refused with {self.status}", "type": "error", "code": None}
            return json.dumps({"error": error}).encode()
        return json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": request.get("model"),
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": self.text(request)},
                    }
                ],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        ).encode()

    def text(self, request: dict[str, Any]) -> str:
        prompt = request["messages"][-1]["content"]
        inputs, _, asked = prompt.partition("Respond with the corresponding output fields")
        said = " ".join(_MARK.sub("", inputs).split())
        fields = [name for name in _MARK.findall(asked) if name != "completed"]
        parts = [f"[[ ## {f} ## ]]\n{self.values.get(f, f'{f} of {said}')}" for f in fields]
        return "\n\n".join([*parts, "[[ ## completed ## ]]"])

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
