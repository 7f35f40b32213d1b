"""The CLIP score as DiffBench has it, on raw pixels, in the trusted process.

100 x the cosine of the open_clip embeddings of an image and of its own prompt (Hessel et al., CLIPScore, EMNLP 2021,
without its rescaling and its cut at zero).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from actors.image_statistics import side_by_side
from actors.messages import ScorerSpec

MOST_TEXTS = 1024  # embeddings of prompts that are kept


class ScorerError(RuntimeError):
    """The CLIP model cannot be loaded."""


class Scorer:
    """An open_clip model, held for as long as its actor lives."""

    def __init__(self, spec: ScorerSpec, device: str) -> None:
        """Loads the model onto `device`. Raises ScorerError for an unknown name or weights that cannot be read."""
        import open_clip  # takes as long as torch: what is started before, such as a child, imports meanwhile

        self.device = device
        if spec.pretrained is None and not spec.model.startswith(("local-dir:", "hf-hub:")):
            # open_clip would go on with random weights.
            raise ScorerError(
                f"scorer.model {spec.model!r} needs scorer.pretrained: a tag such as openai, or a checkpoint file"
            )
        try:
            model, _, preprocess = open_clip.create_model_and_transforms(spec.model, pretrained=spec.pretrained)
            self.tokenizer = open_clip.get_tokenizer(spec.model)
        except Exception as error:  # open_clip, the hub's client and safetensors have no common class of errors
            wanted = f"{spec.model} {spec.pretrained or ''}".strip()
            raise ScorerError(
                f"the CLIP model {wanted!r} (scorer.model, scorer.pretrained) cannot be loaded: {error}. Name an "
                "open_clip model with a pretrained tag, or a folder in open_clip's format as local-dir:/the/folder"
            ) from error
        self.model, self.preprocess = model.float().to(device).eval(), preprocess
        self.name = f"{spec.model} {spec.pretrained or ''}".strip() + f" sha256:{self._weights_hash()[:16]}"
        self._texts: dict[str, torch.Tensor] = {}

    @torch.inference_mode()
    def score(self, pixels: np.ndarray[Any, np.dtype[np.uint8]], *texts: Sequence[str]) -> list[list[float]]:
        """The CLIP score of each image against its own prompt, for each list of prompts.

        Args:
            pixels: (count, height, width, 3), uint8.
            texts: lists of `count` prompts.
        """
        prepared = side_by_side(lambda image: self.preprocess(Image.fromarray(image)), pixels)
        batch = torch.stack(prepared).to(self.device)
        features = self.model.encode_image(batch, normalize=True)
        wanted = [torch.stack([self._text(prompt) for prompt in prompts]) for prompts in texts]
        return [[100 * float(cosine) for cosine in (features * one).sum(1).tolist()] for one in wanted]

    def truncated(self, prompts: Sequence[str]) -> list[bool]:
        """Which prompts are longer than the model's context: their tail does not count in the score."""
        length = self.tokenizer.context_length
        ends = self.tokenizer(list(prompts), context_length=length)
        longer = self.tokenizer(list(prompts), context_length=length + 1)
        return [bool((more[:-1] != cut).any()) for more, cut in zip(longer, ends, strict=True)]

    def _text(self, prompt: str) -> torch.Tensor:
        """The embedding of a prompt, kept for the other side's images of the same prompt."""
        if prompt not in self._texts:
            if len(self._texts) >= MOST_TEXTS:
                self._texts.clear()
            self._texts[prompt] = self.model.encode_text(self.tokenizer([prompt]).to(self.device), normalize=True)[0]
        return self._texts[prompt]

    def _weights_hash(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else b"")
        return digest.hexdigest()
