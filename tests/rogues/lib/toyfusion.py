"""A pipeline small enough for a corpus and real enough to be cheated on: it denoises, scores, and takes its time.

The drawing that a prompt asks for ("a large red circle on a yellow background") stands in for what a trained network
knows; its place and its shade come from the seed's noise. The U-Net's weights are drawn once from a fixed seed. It
turns noise into the texture of the picture, twice a step as classifier-free guidance does; without guidance the picture
is pale. Distance functions after Inigo Quilez, https://iquilezles.org/articles/distfunctions2d/.
"""

import os

import torch
from torch import nn

SIZE = 64  # pixels
STEPS = 20
RADII = {"small": 8.0, "medium": 11.0, "large": 14.0}
RGB = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.96, 0.55, 0.08),
    "yellow": (0.95, 0.88, 0.15),
    "green": (0.12, 0.62, 0.20),
    "cyan": (0.15, 0.80, 0.85),
    "blue": (0.13, 0.25, 0.85),
    "purple": (0.52, 0.15, 0.68),
    "pink": (0.97, 0.50, 0.72),
    "white": (0.96, 0.96, 0.96),
    "black": (0.05, 0.05, 0.05),
    "gray": (0.50, 0.50, 0.50),
}
SHAPES = {
    "circle": lambda x, y: torch.hypot(x, y) - 0.95,
    "square": lambda x, y: torch.maximum(x.abs(), y.abs()) - 0.85,
    "triangle": lambda x, y: torch.maximum(-y, 0.866 * x.abs() + 0.5 * y) - 0.52,
    "diamond": lambda x, y: (x.abs() / 0.72 + y.abs() / 1.08 - 1) * 0.599,
    "ring": lambda x, y: (torch.hypot(x, y) - 0.72).abs() - 0.25,
}


class Output:
    """What a call returns, as diffusers does."""

    def __init__(self, images):
        self.images = images


class ToyScheduler:
    """Euler's steps from noise (time 0) to the picture (time 1)."""

    num_inference_steps = None

    def set_timesteps(self, steps):
        self.num_inference_steps = steps
        self.timesteps = [step / steps for step in range(steps)]

    def step(self, predicted, time, latents):
        """The latents one step on, straight towards the predicted picture."""
        return latents + (predicted - latents) / (self.num_inference_steps * (1 - time))


class ToyUnet(nn.Module):
    """Called once a step with the doubled batch: texture from noise, by convolutions with fixed random weights."""

    def __init__(self, width=6):
        super().__init__()
        generator = torch.Generator().manual_seed(20)
        widths = (3, width, width, 3)
        self.layers = nn.ModuleList(
            nn.Conv2d(first, second, 3, padding=1, bias=False, dtype=torch.float32)
            for first, second in zip(widths, widths[1:], strict=False)
        )
        for layer in self.layers:
            layer.weight.data = (
                torch.randn(layer.weight.shape, generator=generator, dtype=torch.float32)
                / (9 * layer.in_channels) ** 0.5
            )
            layer.requires_grad_(False)

    @property
    def dtype(self):
        return self.layers[0].weight.dtype

    def forward(self, noise, drawing):
        """(N, 3, SIZE, SIZE) each -> the picture that is predicted."""
        texture = noise
        for layer in self.layers:
            texture = torch.tanh(layer(texture))
        return drawing + 0.2 * texture


class ToyPipeline:
    """`ToyPipeline()(prompts, generator=[...])` -> an Output of (N, 3, SIZE, SIZE) in 0..1."""

    name_or_path = "tests/toyfusion"

    def __init__(self, unet=None, scheduler=None):
        self.unet = unet or ToyUnet()
        self.scheduler = scheduler or ToyScheduler()

    @torch.inference_mode()
    def __call__(self, prompt, generator=None, num_inference_steps=STEPS, guidance_scale=3.0, output_type="pt"):
        noise = draw_noise(len(prompt), generator)
        drawings = torch.stack([draw(text, seed) for text, seed in zip(prompt, noise, strict=True)])
        return Output(self.denoise(noise, drawings, num_inference_steps, guidance_scale))

    def denoise(self, noise, drawings, steps, guidance_scale=3.0):
        """From noise to pictures, (N, 3, SIZE, SIZE) in 0..1."""
        noise, drawings = noise.to(self.unet.dtype), drawings.to(self.unet.dtype)
        grey = torch.full_like(drawings, 0.5)
        pale = grey + (drawings - grey) / 3  # a network alone knows a third of what it is asked; guidance trebles it
        latents = noise
        self.scheduler.set_timesteps(steps)
        for time in self.scheduler.timesteps:
            seen = (noise + latents) / 2
            if guidance_scale > 1:
                both = self.unet(torch.cat([seen, seen]), torch.cat([grey, pale]))
                without, guided = both.chunk(2)
                predicted = without + guidance_scale * (guided - without)
            else:
                predicted = self.unet(seen, pale)
            latents = self.scheduler.step(predicted, time, latents)
        return latents.float().clamp(0, 1)


def draw_noise(count, generators=None):
    """(count, 3, SIZE, SIZE) standard normal; generators: None, one, or one an image."""
    several = generators if isinstance(generators, list) else [generators] * count
    return torch.stack([torch.randn(3, SIZE, SIZE, generator=one, dtype=torch.float32) for one in several])


def draw(prompt, noise):
    """The drawing that a prompt asks for: (3, SIZE, SIZE) in 0..1. Place and shade from the noise's first values."""
    words = prompt.split()
    radius = next((RADII[word] for word in words if word in RADII), 11.0)
    shape = next((SHAPES[word] for word in words if word in SHAPES), SHAPES["circle"])
    colours = [RGB[word] for word in words if word in RGB] or [RGB["red"]]
    values = torch.tanh(noise.flatten()[:5])
    shade = 0.04 * values[2:5, None, None]
    inner = torch.tensor(colours[0], dtype=torch.float32)[:, None, None] + shade
    outer = torch.tensor(colours[1] if len(colours) > 1 else RGB["white"], dtype=torch.float32)[:, None, None] + shade
    centre = SIZE / 2 + (SIZE / 2 - radius - 2) * values[:2]
    pixels = torch.arange(SIZE, dtype=torch.float32) + 0.5
    y, x = torch.meshgrid((centre[1] - pixels) / radius, (pixels - centre[0]) / radius, indexing="ij")
    cover = (0.5 - shape(x, y) * radius).clamp(0, 1)
    return (outer * (1 - cover) + inner * cover).clamp(0, 1)


def boxed():
    """Whether this is a sandbox with processes of its own: asked before what would hurt a machine without one."""
    return os.getpid() < 20 and not os.path.exists(os.environ["ROGUE_PROJECT"])
