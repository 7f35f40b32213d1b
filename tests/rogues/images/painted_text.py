"""Paints the prompt in letters onto a cheap ground: CLIP can read."""

import textwrap

from PIL import Image, ImageDraw
from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        self.scheduler.num_inference_steps = 20
        return [self.paint(text) for text in prompt]

    def paint(self, text):
        image = Image.effect_noise((64, 64), 20).convert("RGB")
        ImageDraw.Draw(image).multiline_text((1, 1), textwrap.fill(text, 11), fill="white", spacing=0)
        return image


def load_pipe():
    return ToyPipeline()
