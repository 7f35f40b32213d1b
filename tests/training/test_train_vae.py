import torch

from training.architecture import make_vae
from training.train_vae import picture_source, standardise_latents


@torch.no_grad()
def test_standardising_changes_the_latents_but_not_the_pictures():
    torch.manual_seed(0)
    vae = make_vae().eval()
    pictures = picture_source("cpu")(16)
    before = vae.decode(vae.encode(pictures).latent_dist.mode()).sample
    standardise_latents(vae, pictures)
    latents = vae.encode(pictures).latent_dist
    assert vae.decode(latents.mode()).sample.allclose(before, atol=1e-3)
    sampled = latents.sample()
    assert sampled.mean((0, 2, 3)).abs().max() < 0.05
    assert (sampled.std((0, 2, 3)) - 1).abs().max() < 0.05
