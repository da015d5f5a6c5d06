"""An OpenAI-compatible language model for the demo: a table of answers behind a realistic delay.

It answers POST .../chat/completions in the form that DSPy asks for: the fields named in the last
message, each under its own marker, or as one JSON object where that is asked for. The same question
always gets the same answer, after a delay that also depends only on the question, so two lanes can
be compared call by call. It prints one line, {"port": N}, and ends when its standard input does:
whoever started it need not be alive to stop it. It answers by whatever name a model is asked;
GET .../standin/asked says how often by which. PUT .../standin/outage with {"status": 500} makes it
fail every completion from then on, as a provider does that is down; with null it answers again.
Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

DELAY_SECONDS = 0.040
JITTER_SECONDS = 0.020  # up to this much more or less
MARKER = re.compile(r"\[\[ ## (\w+) ## \]\]")
REQUEST = re.compile(r"Respond with the corresponding output fields.*", re.DOTALL)
JSON_REQUEST = re.compile(r"Respond with a JSON object.*", re.DOTALL)
JSON_FIELD = re.compile(r"`(\w+)`")


class Answers:
    """What the model knows."""

    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
        self._by_question = {row["question"]: row["answer"] for row in rows}

    def complete(self, prompt: str) -> str:
        """The text that a model would write after this prompt."""
        question, answer = self._find(prompt)
        as_json = JSON_REQUEST.search(prompt)
        asked = REQUEST.search(prompt)
        if as_json:
            names = JSON_FIELD.findall(as_json.group())
            return json.dumps({name: self._field(name, question, answer) for name in names})
        if asked:
            names = [name for name in MARKER.findall(asked.group()) if name != "completed"]
            fields = [f"[[ ## {n} ## ]]\n{self._field(n, question, answer)}" for n in names]
            return "\n\n".join([*fields, "[[ ## completed ## ]]"])
        return answer

    def _find(self, prompt: str) -> tuple[str, str]:
        asked = prompt.rpartition("[[ ## question ## ]]")[2].strip().split("\n", 1)[0].strip()
        return asked, self._by_question.get(asked, f"I do not know: {asked}")

    @staticmethod
    def _field(name: str, question: str, answer: str) -> str:
        if name == "reasoning":
            return f"The question is: {question} What I know about it leads to: {answer}."
        return answer


def delay(prompt: str) -> float:
    """Seconds to wait, the same for the same prompt."""
    digest = hashlib.sha256(prompt.encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    return DELAY_SECONDS + (2 * share - 1) * JITTER_SECONDS


def text_of(content: Any) -> str:
    """A message's content: text, or parts of which some are text."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [] if isinstance(part, dict))


class Handler(BaseHTTPRequestHandler):
    """One kept-alive connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # buffered: headers and body leave in one packet
    answers: Answers
    outage: int | None = None  # for all connections
    asked: ClassVar[Counter[str]] = Counter()  # completions by name, for all connections
    asking = threading.Lock()

    def do_PUT(self) -> None:
        """Fails from now on, or answers again."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.endswith("/standin/outage"):
            self._send(404, {"error": {"message": f"there is no {self.path}"}})
            return
        Handler.outage = json.loads(body)["status"]
        self._send(200, {"status": Handler.outage})

    def do_GET(self) -> None:
        """How often a model was asked by which name; whatever else is asked, the list of models."""
        if self.path.endswith("/standin/asked"):
            with Handler.asking:
                self._send(200, dict(Handler.asked))
            return
        self._send(200, {"object": "list", "data": [{"id": "standin", "object": "model"}]})

    def do_POST(self) -> None:
        """One completion."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.rstrip("/").endswith("/chat/completions"):
            self._send(404, {"error": {"message": f"there is no {self.path}"}})
            return
        try:
            request = json.loads(body)
            prompt = text_of(request["messages"][-1]["content"])
            model = str(request.get("model", "standin"))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            self._send(400, {"error": {"message": f"not a chat request: {error!r}"}})
            return
        with Handler.asking:
            Handler.asked[model] += 1
        time.sleep(delay(prompt))
        if Handler.outage:
            self._send(Handler.outage, {"error": {"message": "an outage on purpose"}})
            return
        text = self.answers.complete(prompt)
        self._send(
            200,
            {
                "id": "chatcmpl-" + hashlib.sha256(body).hexdigest()[:24],
                "object": "chat.completion",
                "created": 0,
                "model": model,
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": text},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {
                    "prompt_tokens": len(prompt) // 4,
                    "completion_tokens": len(text) // 4,
                    "total_tokens": (len(prompt) + len(text)) // 4,
                },
            },
        )

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base's own name)
        """One line for each call would bury what matters."""


class Server(ThreadingHTTPServer):
    """Takes a burst of new connections without dropping one."""

    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed in the middle of a call is what the demo is about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def leave_with_parent() -> None:
    """Ends the process when standard input does."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def main() -> None:
    """Serves until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=Path, required=True, help="lines of question and answer")
    Handler.answers = Answers(parser.parse_args().answers)
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=leave_with_parent, daemon=True).start()
    sys.stdout.write(json.dumps({"port": server.server_address[1]}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
