"""Writes Stable Diffusion 1.5's architecture with random weights, in half precision, and CLIP ViT-L/14 to score with.

    python benchmarks/sd15/make_weights.py FOLDER    # FOLDER/pipeline, 2.1 GB, and FOLDER/clip, 1.7 GB

Times depend on the architecture alone, so nothing has to be downloaded to measure them; the pictures are noise. The
sizes are those of the published configurations (UNet 320/640/1280/1280, cross-attention 768, VAE 128/256/512/512,
CLIP ViT-L/14's text encoder). The tokenizer is the embedded one: which words it knows makes no difference to the time.
"""

import json
import sys
from pathlib import Path

import open_clip
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from harness.embedded import EMBEDDED_PIPELINES


def build() -> StableDiffusionPipeline:
    """The pipeline, its weights drawn from a fixed seed."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        cross_attention_dim=768,
        attention_head_dim=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            projection_dim=768,
        )
    )
    folder = EMBEDDED_PIPELINES["diffharness/tiny-shapes"] / "tokenizer"
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(folder, model_max_length=77),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def write_clip(folder: Path) -> None:
    """The architecture that OpenAI's ViT-L/14 has, in open_clip's format; its tokenizer comes with open_clip."""
    torch.manual_seed(1)
    model, _, _ = open_clip.create_model_and_transforms("ViT-L-14", device=torch.get_default_device())
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    settings = {"model_cfg": open_clip.get_model_config("ViT-L-14"), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        build().to(torch.float16).save_pretrained(target / "pipeline")
        write_clip(target / "clip")
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size / 1e9:.2f} GB")
