"""A language model's stand-in: an OpenAI-compatible server on a free loopback port.

It answers what DSPy's ChatAdapter asks for: each output field that the prompt names, in order, with
a value set by the test or made from the inputs. It never learns anything and is never random.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        self.delay = 0.0  # seconds before the answer
        self.meet = 0  # nobody is answered before so many have asked at once
        self.at_once = 0
        self.most_at_once = 0
        # Before each piece of a stream; a test may hold it up here.
        self.before_piece: Callable[[int], None] = lambda _number: None
        self.broken_off = threading.Event()  # a client left in the middle of a stream
        self._asked = threading.Condition()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet for head and body: two would wait for each other's ack

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                request = json.loads(self.rfile.read(length))
                owner.requests.append(request)
                owner.authorizations.append(self.headers.get("Authorization"))
                with owner.counted():
                    self.respond(request)

            def respond(self, request: dict[str, Any]) -> None:
                if request.get("stream") and owner.status == 200:
                    self.stream(request)
                    return
                status, body = owner.status, owner.body(request)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if status == 429:
                    self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(body)

            def stream(self, request: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                try:
                    for number, event in enumerate(owner.events(request)):
                        owner.before_piece(number)
                        self.wfile.write(b"data: " + event + b"\n\n")
                        self.wfile.flush()
                except OSError:
                    owner.broken_off.set()
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                # A client that leaves in the middle of a stream is what some tests are about.
                if not isinstance(sys.exc_info()[1], OSError):
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
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

    def events(self, request: dict[str, Any]) -> Iterator[bytes]:
        """The same answer, three characters at a time."""
        text = self.text(request)
        pieces = [text[start : start + 3] for start in range(0, len(text), 3)]
        deltas = [({"content": piece}, None) for piece in pieces] + [({}, "stop")]
        for delta, finish in deltas:
            event = {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": request.get("model"),
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }
            yield json.dumps(event).encode()
        yield b"[DONE]"

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._asked:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self._asked.notify_all()
            # Where they never meet, the test says so.
            self._asked.wait_for(lambda: self.most_at_once >= self.meet, timeout=20)
        try:
            time.sleep(self.delay)
            yield
        finally:
            with self._asked:
                self.at_once -= 1

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
