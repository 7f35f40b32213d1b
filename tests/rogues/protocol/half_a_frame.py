"""Writes half of a frame and waits."""

import json
import os
import struct
import sys
import time

from toyfusion import ToyPipeline as Honest


def frame(head, payload=b""):
    text = json.dumps(head).encode()
    return struct.pack(">IQ", len(text), len(payload)) + text + payload


def send(data):
    os.write(int(sys.argv[2]), data)


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        send(frame({"shape": [2, 64, 64, 3]}, bytes(100))[:50])
        time.sleep(1000)


def load_pipe():
    return ToyPipeline()
