"""Trains the denoiser together with its text encoder, on latents that the trained VAE makes."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from training.architecture import (
    DIFFUSION_STEPS,
    LATENT_CHANNELS,
    LATENT_SIZE,
    make_scheduler,
    make_text_encoder,
    make_unet,
)
from training.captions import CONTEXT_LENGTH, END, START, Captioner
from training.render import Renderer
from training.tokenizer import vocabulary
from training.train_vae import encode
from training.trainer import Recipe, Trainer
from training.world import Dice, Scenes, SceneSource

RECIPE = Recipe(
    steps=11500,
    batch=512,
    peak_rate=1.2e-3,
    warm_up=400,
    weight_decay=0.01,
    betas=(0.9, 0.98),
    averaging=0.999,
    seed=3,
)
POOL_BATCHES = 976
"""Latents are made once, for so many batches, and drawn from that pool: about 500,000."""
LEAVE_OUT = 0.1
"""How often a caption leaves a size or the background unsaid."""
EMPTY_SHARE = 0.1
"""How often the caption is empty, for classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598)."""


def train_unet(
    recipe: Recipe, device: str, wait_for_vae: Callable[[], AutoencoderKL]
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """The trained denoiser and text encoder.

    `wait_for_vae` is called when the step is compiled and captured, which can go on beside the VAE's training.
    """
    torch.manual_seed(recipe.seed)
    unet = make_unet().to(device, memory_format=torch.channels_last)
    text_encoder = make_text_encoder()
    text_encoder.to(device)  # type: ignore[arg-type]  # transformers' wrapper hides `self`
    predict = torch.compile(unet) if device == "cuda" else unet
    dice = Dice(device)
    source, captioner = SceneSource(dice), Captioner(vocabulary(), dice)
    pool = LatentPool(source.training(POOL_BATCHES * recipe.batch), dice)
    empty = empty_caption(device)
    signal = make_scheduler().alphas_cumprod.to(device)

    def loss() -> Tensor:
        with torch.no_grad():
            latents, scenes = pool.draw(recipe.batch)
            without_caption = dice.uniform(recipe.batch, 1) < EMPTY_SHARE
            ids = torch.where(without_caption, empty, captioner.varied(scenes, LEAVE_OUT))
            time = dice.integers(DIFFUSION_STEPS, recipe.batch)
            noise = dice.normal(*latents.shape)
            alpha, sigma = (part.sqrt().view(-1, 1, 1, 1) for part in (signal[time], 1 - signal[time]))
            noisy, velocity = alpha * latents + sigma * noise, alpha * noise - sigma * latents
        with torch.autocast(device, dtype=torch.bfloat16):
            context = text_encoder(ids).last_hidden_state
            predicted = predict(noisy, time, encoder_hidden_states=context, return_dict=False)[0]
        return F.mse_loss(predicted.float(), velocity)

    trainer = Trainer([unet, text_encoder], loss, recipe)
    print("step ready", flush=True)
    pool.fill(wait_for_vae(), recipe.batch)
    print("latents ready", flush=True)
    trainer.train()
    return unet, text_encoder


def empty_caption(device: str) -> Tensor:
    """The ids of the empty caption: (CONTEXT_LENGTH,)."""
    ids = torch.full((CONTEXT_LENGTH,), vocabulary()[END], device=device)
    ids[0] = vocabulary()[START]
    return ids


class LatentPool:
    """Scenes and their latents, in fixed memory that a captured step can read from. Noise until it is filled."""

    def __init__(self, scenes: Scenes, dice: Dice) -> None:
        self._scenes = scenes
        self._dice = dice
        shape = (len(scenes), LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE)
        self._latents = dice.normal(*shape).half()

    @torch.no_grad()
    def fill(self, vae: AutoencoderKL, batch: int) -> None:
        """Draws each scene and puts a sample of its latents into the pool."""
        renderer = Renderer(self._dice)
        for start in range(0, len(self._scenes), batch):
            part = slice(start, start + batch)
            with torch.autocast(self._dice.device, dtype=torch.bfloat16):
                mean, log_variance = encode(vae, renderer.render(self._scenes[part]) * 2 - 1)
            self._latents[part] = mean + (log_variance / 2).exp() * self._dice.normal(*mean.shape)

    def draw(self, count: int) -> tuple[Tensor, Scenes]:
        """Latents (N, 4, 16, 16) and their scenes."""
        chosen = self._dice.integers(len(self._scenes), count)
        return self._latents[chosen].float(), self._scenes[chosen]
