"""The embedded models' architectures: the one place where their sizes stand."""

from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from open_clip.model import CLIP
from transformers import CLIPTextConfig, CLIPTextModel

from training.captions import CONTEXT_LENGTH, END, START
from training.render import PICTURE_SIZE
from training.tokenizer import vocabulary

LATENT_CHANNELS = 4
LATENT_SIZE = PICTURE_SIZE // 4
"""Width and height of a latent: the VAE halves the picture twice."""
TEXT_WIDTH = 96
UNET_CHANNELS = (64, 64, 96)
DIFFUSION_STEPS = 1000

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""OpenAI's values, open_clip's default."""


def make_vae() -> AutoencoderKL:
    """0.8 M parameters; its latents are standardised by training, so the scaling factor is 1."""
    return AutoencoderKL(
        block_out_channels=(32, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=16,
        sample_size=PICTURE_SIZE,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def make_unet() -> UNet2DConditionModel:
    """4.2 M parameters, heads of 16 channels."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=UNET_CHANNELS,
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        # Despite its name diffusers reads this as the number of heads.
        attention_head_dim=tuple(channels // 16 for channels in UNET_CHANNELS),
        norm_num_groups=16,
    )


def make_text_encoder() -> CLIPTextModel:
    """0.4 M parameters."""
    ids = vocabulary()
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(ids),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT_LENGTH,
            projection_dim=TEXT_WIDTH,
            bos_token_id=ids[START],
            eos_token_id=ids[END],
            pad_token_id=ids[END],
        )
    )


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule with v-prediction (Salimans and Ho 2022, arXiv 2202.00512)."""
    return DDIMScheduler(
        num_train_timesteps=DIFFUSION_STEPS,
        beta_start=0.00085,
        beta_end=0.02,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def clip_config() -> dict[str, Any]:
    """What `open_clip_config.json` holds."""
    return {
        "model_cfg": {
            "embed_dim": 96,
            "vision_cfg": {
                "image_size": PICTURE_SIZE,
                "layers": 5,
                "width": 128,
                "head_width": 32,
                "patch_size": 8,
            },
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": len(vocabulary()),
                "width": 96,
                "heads": 4,
                "layers": 3,
                "hf_tokenizer_name": ".",
            },
        },
        "preprocess_cfg": {
            "mean": CLIP_MEAN,
            "std": CLIP_STD,
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }


def make_clip() -> CLIP:
    """1.4 M parameters, as `clip_config` says."""
    model = clip_config()["model_cfg"]
    return CLIP(model["embed_dim"], model["vision_cfg"], model["text_cfg"])
