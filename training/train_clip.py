"""Trains the CLIP that scores pictures against captions."""

import math

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

from training.architecture import CLIP_MEAN, CLIP_STD, make_clip
from training.captions import Captioner
from training.render import Renderer
from training.tokenizer import vocabulary
from training.trainer import Recipe, Trainer
from training.world import Dice, SceneSource, concatenate

RECIPE = Recipe(
    steps=3900,
    batch=1024,
    peak_rate=1e-3,
    warm_up=300,
    weight_decay=0.05,
    betas=(0.9, 0.98),
    averaging=0.998,
    seed=2,
)
FIRST_TEMPERATURE = 0.07
LARGEST_SCALE = 100.0
LEAVE_OUT = 0.05
"""How often a caption leaves a size or the background unsaid."""
BLURRED_SHARE, NOISY_SHARE = 0.4, 0.5
LARGEST_NOISE = 0.04
"""Standard deviation, of pictures in 0..1."""


def train_clip(recipe: Recipe, device: str) -> CLIP:
    """The trained model.

    Contrastive loss in both directions. Half of each batch are the other half's scenes with one mistake: without such
    hard negatives the model never learns left from right. Equal scenes within a batch are no negatives of each other.
    """
    torch.manual_seed(recipe.seed)
    clip = make_clip().to(device)
    clip.logit_scale.data.fill_(math.log(1 / FIRST_TEMPERATURE))
    dice = Dice(device)
    source, renderer, captioner = SceneSource(dice), Renderer(dice), Captioner(vocabulary(), dice)
    augmentation = Augmentation(dice)
    target = torch.arange(recipe.batch, device=device)
    elsewhere = target[:, None] != target

    def loss() -> Tensor:
        with torch.no_grad():
            right = source.training(recipe.batch // 2)
            scenes = concatenate(right, source.with_one_mistake(right))
            pictures = augmentation(renderer.render(scenes))
            ids = captioner.varied(scenes, LEAVE_OUT)
            identity = scenes.identity()
            alike = (identity[:, None] == identity) & elsewhere
        with torch.autocast(device, dtype=torch.bfloat16):
            seen = clip.encode_image(pictures, normalize=True).float()
            said = clip.encode_text(ids, normalize=True).float()
        scale = clip.logit_scale.exp().clamp(max=LARGEST_SCALE)
        logits = (scale * seen @ said.T).masked_fill(alike, -1e4)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    Trainer([clip], loss, recipe).train()
    return clip.eval()


class Augmentation:
    """Some blur and some noise, as a diffusion model's pictures have, then CLIP's normalisation."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._mean = torch.tensor(CLIP_MEAN, device=dice.device).view(1, 3, 1, 1)
        self._std = torch.tensor(CLIP_STD, device=dice.device).view(1, 3, 1, 1)
        binomial = torch.tensor([1.0, 2.0, 1.0], device=dice.device) / 4
        self._kernel = torch.outer(binomial, binomial).expand(3, 1, 3, 3)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Takes pictures in 0..1: (N, 3, 64, 64)."""
        blurred = F.conv2d(pictures, self._kernel, padding=1, groups=3)
        pictures = pictures + self._strength(len(pictures), BLURRED_SHARE) * (blurred - pictures)
        noise = LARGEST_NOISE * self._strength(len(pictures), NOISY_SHARE) * self._dice.normal(*pictures.shape)
        return ((pictures + noise).clamp(0, 1) - self._mean) / self._std

    def _strength(self, number: int, share: float) -> Tensor:
        """Zero for most pictures, between 0 and 1 for a `share` of them."""
        shape = (number, 1, 1, 1)
        return (self._dice.uniform(*shape) < share) * self._dice.uniform(*shape)
