"""Makes files for ever, with nothing in them."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        for number in range(200_000):
            open(f"rogue-{number}", "w").close()
        raise OSError("as many files as it likes")


def load_pipe():
    return ToyPipeline()
