"""What ends the processes of a server that was killed: `python -I -S guardian.py`, a process alone.

It reads lines from standard input: `= FAMILY` once, then `+ PID STARTED` and `- PID` for sessions
that begin and end. At the end of its input the server is gone, however it went. Then every process
that belongs to one of the sessions, or whose environment carries the family's mark, is killed,
until two looks find none.

Invariants: the standard library alone, and little of it; nothing is killed that is not known by a
session or a mark; it ends when its work is done.
"""

from __future__ import annotations

import os
import signal
import time

_MARK = b"DSPEX_PROCESS="
_PAUSE = 0.05
# The work takes two looks where nothing was left; longer than this it makes no sense. Seconds.
_LONGEST = 10.0


class Known:
    """What the server has told."""

    def __init__(self) -> None:
        self.family = b""
        self.sessions: dict[int, int] = {}  # by leader, with the time at which it was started

    def learn(self, line: bytes) -> None:
        """Takes a line; what is none is ignored."""
        kind, _, rest = line.partition(b" ")
        try:
            if kind == b"=":
                self.family = rest
            elif kind == b"+":
                leader, started = rest.split()
                self.sessions[int(leader)] = int(started)
            elif kind == b"-":
                self.sessions.pop(int(rest), None)
        except ValueError:
            pass


def listen(known: Known) -> None:
    """Learns until the end of the input."""
    left = b""
    while piece := os.read(0, 65536):
        *lines, left = (left + piece).split(b"\n")
        for line in lines:
            known.learn(line)


def look(known: Known) -> list[tuple[int, int]]:
    """The processes that are to go: their numbers, and when each was started."""
    table: dict[int, tuple[int, int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            entry = _entry(int(name))
            if entry is not None:
                table[int(name)] = entry
    found = []
    for pid, (session, started) in table.items():
        if pid == os.getpid():
            continue
        began = known.sessions.get(session)
        # A leader of another age means that the number was given on: a session is nobody's then.
        leader = table.get(session)
        of_session = began is not None and started >= began
        if of_session and leader is not None and leader[1] != began:
            of_session = False
        if of_session or _is_marked(pid, known.family):
            found.append((pid, started))
    return found


def end(pid: int, started: int) -> None:
    """Kills the process, if it is still the one that was seen."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        entry = _entry(pid)
        if entry is not None and entry[1] == started:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        pass
    finally:
        os.close(pidfd)


def _entry(pid: int) -> tuple[int, int] | None:
    """The session and the time of the start; None where there is no such process that lives."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            fields = file.read().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in {b"Z", b"X"} else (int(fields[3]), int(fields[19]))


def _is_marked(pid: int, family: bytes) -> bool:
    if not family:
        return False
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            variables = file.read().split(b"\0")
    except OSError:
        return False
    return any(one.startswith(_MARK + family + b"-") for one in variables)


def main() -> None:
    """Listens, then ends what is left."""
    # A terminal's signals, and a service manager's, reach the whole group; its time comes later.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    known = Known()
    listen(known)
    deadline = time.monotonic() + _LONGEST
    clean = 0
    while clean < 2 and time.monotonic() < deadline:
        found = look(known)
        for pid, started in found:
            end(pid, started)
        clean = 0 if found else clean + 1
        time.sleep(_PAUSE if not found else _PAUSE / 10)


if __name__ == "__main__":
    main()
