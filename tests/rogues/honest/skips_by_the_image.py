"""Decides by the latents which steps to skip, as TeaCache does: how many differs from image to image."""

from toyfusion import ToyPipeline, ToyUnet


class Cached(ToyUnet):
    before, kept, skipped = None, None, 0

    def forward(self, noise, drawing):
        same = self.before is not None and self.before.shape == noise.shape
        moved = (noise - self.before).abs().mean() / noise.abs().mean() if same else 1
        if moved > 0.0415 or self.skipped >= 2:
            self.before, self.kept, self.skipped = noise, super().forward(noise, drawing), 0
        else:
            self.skipped += 1
        return self.kept


def load_pipe():
    return ToyPipeline(Cached())
