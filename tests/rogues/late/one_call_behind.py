"""Returns the images of the call before, which a thread made meanwhile."""

import threading

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    made = None

    def __call__(self, prompt, **call):
        before = self.made

        def work():
            self.made = super(ToyPipeline, self).__call__(prompt, **call).images

        thread = threading.Thread(target=work)
        thread.start()
        if before is None:
            thread.join()
        return self.made if before is None else before


def load_pipe():
    return ToyPipeline()
