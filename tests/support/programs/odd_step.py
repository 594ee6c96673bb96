"""A step's program that does what the last byte of its image says, and appends it to the file given as argument."""

import json
import os
import sys
import time

KINDS = ["", "crash", "hang", "garbage", "outside", "link", "cut", "refuse", "none", "many"]


def answer(request: dict) -> str:
    with open(request["in"][0], "rb") as file:
        data = file.read()
    kind = KINDS[data[-1]] if data[-1] < len(KINDS) else "good"
    if len(sys.argv) > 1:
        with open(sys.argv[1], "a") as log:
            log.write(f"{os.getpid()} {kind}\n")
    result = request["out"] + "/a"
    if kind == "crash":
        os.kill(os.getpid(), 9)
        os._exit(9)  # the first process of a container cannot kill itself
    if kind == "hang":
        time.sleep(600)
    if kind == "garbage":
        return "what?"
    if kind == "refuse":
        error = {"code": "parameter_not_applicable", "message": "not this one"}
        return json.dumps({"v": 1, "ok": False, "error": error})
    if kind == "link":
        os.symlink("/etc/hostname", result)
    elif kind == "outside":
        result = "/etc/hostname"
    else:
        with open(result, "wb") as file:
            file.write(data[:-1] if kind == "cut" else data)
    return json.dumps({"v": 1, "ok": True, "out": {"none": [], "many": [result] * 5000}.get(kind, [result])})


for line in sys.stdin:
    request = json.loads(line)
    description = {"v": 1, "step": "odd", "version": "1", "params": {}}
    sys.stdout.write((json.dumps(description) if request["op"] == "describe" else answer(request)) + "\n")
    sys.stdout.flush()
