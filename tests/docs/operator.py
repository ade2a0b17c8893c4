"""Somebody at a terminal: commands of `./run dps`, one after another, in one process whose date can be moved.

Reads an order a line from standard input, `{"ahead": SECONDS, "words": […]}`, and answers each with
`{"code": …, "out": …, "err": …}`. A process for each
command would take a second of processor time.
"""

import io
import json
import sys

from cli.app import main
from cli.terminal import Terminal
from local.host.movable import MovableClock

if __name__ == "__main__":
    clock = MovableClock()
    for line in sys.stdin:
        order = json.loads(line)
        clock.move(order["ahead"])
        out, err = io.StringIO(), io.StringIO()
        code = main(order["words"], terminal=Terminal(io.StringIO(), out, err))
        print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}), flush=True)
