"""Trains all embedded models on one GPU: `python -m training.train all CHECKPOINTS`, about 9 minutes on an H100.

The three parts run as processes of their own: VAE and CLIP side by side, while the denoiser's step compiles; the
denoiser trains as soon as the VAE is there. Each part's log lies beside its weights. `--fraction` and `--largest-batch`
make a trial of it, on any machine.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import nn

from training import train_clip, train_unet, train_vae
from training.architecture import make_vae
from training.trainer import Recipe


class Part(StrEnum):
    """What is trained."""

    VAE = "vae"
    CLIP = "clip"
    UNET = "unet"


RECIPES = {Part.VAE: train_vae.RECIPE, Part.CLIP: train_clip.RECIPE, Part.UNET: train_unet.RECIPE}


def train_part(part: Part, recipe: Recipe, folder: Path) -> None:
    """Trains one part and writes its weights (float32 safetensors) into `folder`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    match part:
        case Part.VAE:
            save(train_vae.train_vae(recipe, device), folder / "vae.safetensors")
        case Part.CLIP:
            save(train_clip.train_clip(recipe, device), folder / "clip.safetensors")
        case Part.UNET:
            unet, text_encoder = train_unet.train_unet(recipe, device, lambda: wait_for_vae(folder, device))
            save(text_encoder, folder / "text_encoder.safetensors")
            save(unet, folder / "unet.safetensors")


def save(model: nn.Module, path: Path) -> None:
    """Writes the weights in one move, so that who waits for the file finds it whole."""
    unfinished = path.with_suffix(".unfinished")
    save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, unfinished)
    unfinished.rename(path)


def wait_for_vae(folder: Path, device: str) -> AutoencoderKL:
    """The VAE that the other process trains, as soon as its weights are there."""
    path = folder / "vae.safetensors"
    while not path.exists():
        time.sleep(0.2)
    vae = make_vae().to(device).eval()
    vae.load_state_dict(load_file(path, device=device))
    return vae


def train_all(folder: Path, options: list[str]) -> None:
    """Runs all parts, each in a process of its own; ends the others and raises RuntimeError when one fails."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    started = time.monotonic()
    running: dict[Part, subprocess.Popen[bytes]] = {}
    for part in Part:
        command = [sys.executable, "-u", "-m", "training.train", part, str(folder), *options]
        with (folder / f"{part}.log").open("wb") as log:
            running[part] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        while running:
            time.sleep(0.2)
            for part, process in list(running.items()):
                if process.poll() is None:
                    continue
                if process.returncode != 0:
                    raise RuntimeError(f"training of {part} failed: see {folder / f'{part}.log'}")
                del running[part]
                print(f"{part}: done after {time.monotonic() - started:.0f} s", flush=True)
    finally:
        for process in running.values():
            process.kill()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["all", *Part])
    parser.add_argument("folder", type=Path, help="where the weights go")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the recipe's steps")
    parser.add_argument("--largest-batch", type=int, default=sys.maxsize)
    arguments = parser.parse_args()
    if arguments.part == "all":
        options = [f"--fraction={arguments.fraction}", f"--largest-batch={arguments.largest_batch}"]
        train_all(arguments.folder, options)
        return
    part = Part(arguments.part)
    recipe = RECIPES[part]
    recipe = replace(
        recipe,
        steps=max(1, round(recipe.steps * arguments.fraction)),
        batch=min(recipe.batch, arguments.largest_batch),
    )
    started = time.monotonic()
    train_part(part, recipe, arguments.folder)
    print(f"{part}: {recipe.steps} steps of {recipe.batch} in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
