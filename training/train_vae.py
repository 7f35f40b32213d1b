"""Trains the VAE: pictures to 16x16 latents and back."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from training.architecture import LATENT_CHANNELS, make_vae
from training.render import Renderer
from training.trainer import Recipe, Trainer
from training.world import Dice, SceneSource

RECIPE = Recipe(
    steps=3000,
    batch=128,
    peak_rate=9e-4,
    warm_up=300,
    weight_decay=0.0,
    betas=(0.9, 0.99),
    averaging=0.998,
    seed=1,
)
KL_WEIGHT = 2e-4
PICTURES_TO_STANDARDISE = 2048


def train_vae(recipe: Recipe, device: str) -> AutoencoderKL:
    """The trained VAE, whose latents have mean 0 and deviation 1 in each channel."""
    torch.manual_seed(recipe.seed)
    vae = make_vae().to(device)
    draw_pictures = picture_source(device)
    with_bf16_group_norm(vae)

    def loss() -> Tensor:
        with torch.no_grad():
            pictures = draw_pictures(recipe.batch)
        with torch.autocast(device, dtype=torch.bfloat16):
            mean, log_variance = encode(vae, pictures)
            latents = mean + (log_variance / 2).exp() * torch.randn_like(mean)
            drawn = vae.decoder(vae.post_quant_conv(latents)).float()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        return picture_loss(drawn, pictures) + KL_WEIGHT * divergence

    Trainer([vae], loss, recipe).train()
    vae.eval()
    with torch.no_grad():
        pictures = draw_pictures(min(PICTURES_TO_STANDARDISE, 16 * recipe.batch))
        standardise_latents(vae, pictures)
        error = F.mse_loss(vae.decode(vae.encode(pictures).latent_dist.sample()).sample, pictures)
    print(f"PSNR {float(10 * torch.log10(4 / error)):.2f} dB", flush=True)
    return vae


def picture_source(device: str) -> Callable[[int], Tensor]:
    """A function that draws so many training pictures: (N, 3, 64, 64) in -1..1."""
    dice = Dice(device)
    scenes, renderer = SceneSource(dice), Renderer(dice)
    return lambda count: renderer.render(scenes.training(count)) * 2 - 1


def encode(vae: AutoencoderKL, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and logarithm of the variance of the pictures' latents, each (N, LATENT_CHANNELS, 16, 16)."""
    mean, log_variance = vae.quant_conv(vae.encoder(pictures)).float().chunk(2, 1)
    return mean, log_variance.clamp(-30, 20)


def picture_loss(drawn: Tensor, wanted: Tensor) -> Tensor:
    """Absolute and squared error, and the absolute error of the differences between neighbours, for sharp edges."""
    return (
        F.l1_loss(drawn, wanted)
        + 4 * F.mse_loss(drawn, wanted)
        + F.l1_loss(drawn.diff(dim=2), wanted.diff(dim=2))
        + F.l1_loss(drawn.diff(dim=3), wanted.diff(dim=3))
    )


def standardise_latents(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Folds each latent channel's mean and deviation into the 1x1 convolutions on both sides of the latents.

    After it the latents can be used as they are (scaling factor 1).
    """
    latents = torch.cat([vae.encode(part).latent_dist.sample() for part in pictures.split(256)])
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, out = vae.quant_conv, vae.post_quant_conv
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= deviation[None, :, None, None]
    into.weight[:LATENT_CHANNELS] /= deviation[:, None, None, None]
    into.bias[:LATENT_CHANNELS] = (into.bias[:LATENT_CHANNELS] - mean) / deviation
    into.bias[LATENT_CHANNELS:] -= 2 * deviation.log()


def with_bf16_group_norm(model: nn.Module) -> None:
    """Lets the model's group normalisations keep their input's type.

    Autocast would widen their inputs to float32, and the pictures' activations are what costs time.
    """

    def forward_of(norm: nn.GroupNorm) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            weight, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
            with torch.autocast(x.device.type, enabled=False):
                return F.group_norm(x, norm.num_groups, weight, bias, norm.eps)

        return forward

    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.forward = forward_of(module)  # type: ignore[method-assign, assignment]
