"""Runs a program on a pseudo terminal. Arguments: a JSON list of steps, then the program and its arguments.

A step is {"wait": text}, which waits until the terminal shows the text after what an earlier step waited for, or
{"send": text}. The result is JSON: everything that the terminal showed, the exit code, and the step that was not reached.
"""

import json
import os
import pty
import select
import sys
import time

LIMIT_S = 20


def read(terminal, seconds):
    """What the program writes next; None at its end."""
    ready, _, _ = select.select([terminal], [], [], seconds)
    if not ready:
        return b""
    try:
        return os.read(terminal, 65536) or None
    except OSError:
        return None


def main():
    steps = json.loads(sys.argv[1])
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(sys.argv[2], sys.argv[2:])
    end = time.monotonic() + LIMIT_S
    shown, seen, missed = b"", 0, None
    for step in steps:
        if "send" in step:
            os.write(terminal, step["send"].encode())
            continue
        wanted = step["wait"].encode()
        while (at := shown.find(wanted, seen)) < 0:
            part = read(terminal, max(0, end - time.monotonic()))
            if not part:
                missed = step["wait"]
                break
            shown += part
        if missed is not None:
            break
        seen = at + len(wanted)
    while missed is None and (part := read(terminal, max(0, end - time.monotonic()))):
        shown += part
    if missed is not None or time.monotonic() >= end:
        os.kill(pid, 9)
    _, status = os.waitpid(pid, 0)
    result = {"shown": shown.decode(errors="replace"), "code": os.waitstatus_to_exitcode(status), "missed": missed}
    print(json.dumps(result))


main()
