"""A group step's program, which lists its images in `poses.json`, or copies the file of the first one as pixels."""

import json
import shutil
import sys


def members(request: dict) -> list:
    if request["in"]:
        return [{**image, "file": path} for path, image in zip(request["in"], request["images"], strict=True)]
    with open(request["listing"]) as lines:
        return [json.loads(line) for line in lines]


def answer(request: dict) -> dict:
    images = members(request)
    if request["params"].get("refuse"):
        return {"v": 1, "ok": False, "error": {"code": "parameter_not_applicable", "message": "not these"}}
    if request["params"].get("pixels"):
        shutil.copy(images[0]["file"], request["out"] + "/first")
        return {"v": 1, "ok": True, "out": [request["out"] + "/first"]}
    for image in images:
        with open(image.pop("file"), "rb") as file:
            image["head"] = file.read(8).hex()
    with open(request["out"] + "/poses.json", "w") as file:
        json.dump({"in": len(request["in"]), "images": images}, file)
    return {"v": 1, "ok": True, "out": [request["out"] + "/poses.json"]}


for line in sys.stdin:
    request = json.loads(line)
    description = {"v": 1, "step": "gathering", "group": True, "accepts": ["safetensors", *sys.argv[1:]]}
    sys.stdout.write(json.dumps(description if request["op"] == "describe" else answer(request)) + "\n")
    sys.stdout.flush()
