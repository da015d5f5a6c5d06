"""Lines of user code: whole, labelled, bounded, and never an error."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import os
import subprocess
import sys
import threading
import weakref

import pytest
from conftest import LIMIT, environment

from dspex_worker import execution, output
from dspex_worker.engine import Program
from dspex_worker.job import Job, running
from dspex_worker.output import Lines

numbers = itertools.count(1)


class Call:
    def __init__(self, key="echo@1", request="r-1"):
        self.id = next(numbers)
        self.key = key
        self.request = request


@pytest.fixture
def lines():
    """A stream, and what it wrote."""
    read, write = os.pipe()
    stream = Lines(write)

    def written():
        stream.finish()
        stream.flush()
        os.set_blocking(read, False)
        try:
            return os.read(read, 1 << 20).decode()
        except BlockingIOError:
            return ""

    yield stream, written
    stream.close()
    os.close(read)
    os.close(write)


@pytest.fixture
def called():
    token = running.set(Call())
    yield
    running.reset(token)


def test_outside_a_call_a_line_is_as_it_is(lines):
    stream, written = lines
    print("hello", "there", file=stream)
    assert written() == "hello there\n"


@pytest.mark.usefixtures("called")
def test_in_a_call_each_line_has_its_label(lines):
    stream, written = lines
    print("one\ntwo", file=stream)
    assert written() == "\x1decho@1\x1fr-1\x1done\n\x1decho@1\x1fr-1\x1dtwo\n"


def test_names_cannot_break_the_label(lines):
    stream, written = lines
    token = running.set(Call("a\x1db", "r\n\x1f" + "x" * 500))
    print("hello", file=stream)
    running.reset(token)
    label, text = written().rsplit("\x1d", 1)
    assert text == "hello\n"
    assert label == "\x1da?b\x1fr??" + "x" * 197


def test_threads_do_not_tear_each_others_lines(lines):
    stream, written = lines
    barrier = threading.Barrier(4)

    def work(number):
        barrier.wait()
        for _ in range(50):
            print(number, number, number, file=stream)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted(written().split("\n")[:-1])
    assert found == sorted(f"{n} {n} {n}" for n in range(4) for _ in range(50))


def test_calls_on_one_loop_do_not_tear_each_others_lines(lines):
    stream, written = lines

    async def work(name):
        running.set(Call(name, "r"))
        for _ in range(3):
            stream.write(name)
            await asyncio.sleep(0)
        stream.write("\n")

    async def both():
        await asyncio.gather(work("a"), work("b"))

    asyncio.run(both())
    assert sorted(written().split("\n")[:-1]) == ["\x1da\x1fr\x1daaa", "\x1db\x1fr\x1dbbb"]


@pytest.mark.usefixtures("called")
def test_a_long_line_comes_in_labelled_pieces(lines):
    stream, written = lines
    print("x" * 4000, file=stream)
    pieces = written().split("\n")[:-1]
    assert all(piece.startswith("\x1decho@1\x1fr-1\x1d") for piece in pieces)
    assert "".join(piece.rsplit("\x1d", 1)[1] for piece in pieces) == "x" * 4000


def test_what_never_ends_its_line_is_bounded():
    stream = Lines(os.open(os.devnull, os.O_WRONLY))
    for _ in range(1000):
        stream.write("y" * 100)
    assert sum(len(text) for _, text in stream._begun.values()) < 2_000
    for number in range(3_000):
        running.set(Call(request=str(number)))
        stream.write("z")
    running.set(None)
    assert len(stream._begun) <= 1_000
    stream.close()
    os.close(stream._fd)


def test_a_flush_ends_what_this_thread_began(lines):
    stream, written = lines
    print("half", end="", file=stream, flush=True)
    assert not stream._begun
    print(" a line", file=stream)
    assert written() == "half\n a line\n"


class Dots(Program):
    """Prints and never ends its line."""

    def __init__(self, stream, *, is_async):
        self._stream = stream
        self.is_async = is_async

    def check(self, _inputs):
        pass

    def call(self, _inputs):
        return self._call_async() if self.is_async else self._call()

    def _call(self):
        print(".", end="", file=self._stream)
        other = contextvars.copy_context()
        thread = threading.Thread(
            target=other.run, args=(lambda: print("t", end="", file=self._stream),)
        )
        thread.start()
        thread.join()
        return {}

    async def _call_async(self):
        print(".", end="", file=self._stream)
        return await asyncio.to_thread(lambda: print("t", end="", file=self._stream))

    def outputs(self, _result):
        return {}


class Inputs(dict):
    """One that can be watched."""


@pytest.mark.parametrize("is_async", [False, True])
def test_a_call_that_ended_is_not_kept_for_the_line_that_it_began(lines, monkeypatch, is_async):
    stream, written = lines
    monkeypatch.setattr(output, "_installed", [stream])
    program = Dots(stream, is_async=is_async)
    watched = []
    for number in range(1, 21):
        inputs = Inputs()
        watched.append(weakref.ref(inputs))
        job = Job(number, inputs, None, {"key": "dots@1", "request": f"r-{number}"})
        job.program = program
        outcome = asyncio.run(execution.run_async(job)) if is_async else execution.run(job)
        assert outcome[2] is None
        del inputs, job, outcome
    assert not stream._begun
    gc.collect()
    assert not any(inputs() for inputs in watched)
    label = "\x1ddots@1\x1fr-20\x1d"
    assert written().endswith(f"{label}.\n{label}t\n")


@pytest.mark.parametrize("text", ["\udc80 lone", "ünïcode", "nul \x00", "\r\n"])
def test_any_text_can_be_printed(lines, text):
    stream, written = lines
    print(text, file=stream)
    assert written().endswith("\n")


def test_it_is_a_text_stream_like_any_other(lines):
    stream, written = lines
    stream.writelines(["a\n", "b\n"])
    stream.buffer.write(b"raw\n")
    stream.buffer.flush()
    assert stream.encoding == "utf-8"
    assert not stream.isatty()
    stream.reconfigure(line_buffering=True)
    with pytest.raises(TypeError, match="must be str, not bytes"):
        stream.write(b"bytes")
    assert written() == "a\nb\nraw\n"


def test_nobody_reading_is_no_error():
    read, write = os.pipe()
    stream = Lines(write)
    os.close(read)
    print("hello", file=stream)
    assert not stream._begun
    stream.close()
    os.close(write)


def test_a_forked_child_can_print_while_another_thread_prints():
    """The lock may be held by a thread that the child does not have."""
    code = """
import os, sys, threading
from dspex_worker import output
output.install()
sys.stdout._lock.acquire()
def fork():
    pid = os.fork()
    if pid == 0:
        print("from the child")
        os._exit(0)
    done.append(os.waitpid(pid, 0)[1])
done = []
thread = threading.Thread(target=fork)
thread.start()
thread.join()
assert done == [0]
"""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment(),
        capture_output=True,
        timeout=LIMIT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "from the child\n"
