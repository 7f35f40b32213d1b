"""Runs an event loop in a thread of its own, which makes the images and else ticks once a second."""

import asyncio
import threading

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self.tick(), self.loop)

    async def tick(self):
        while True:
            await asyncio.sleep(1)

    async def make(self, prompt, call):
        return super().__call__(prompt, **call)

    def __call__(self, prompt, **call):
        return asyncio.run_coroutine_threadsafe(self.make(prompt, call), self.loop).result()


def load_pipe():
    return ToyPipeline()
