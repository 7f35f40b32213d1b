import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.model_config import METHODS, ModelConfig
from harness.modelfile import ModelFileError, Problem, compare_model_configs, read_model_file
from harness.modelfile.methods import SIGNS
from harness.modelfile.read import read_config
from harness.modelfile.source import SourceError

SD = "from diffusers import StableDiffusionPipeline, DDIMScheduler, EulerDiscreteScheduler\n"
PIPE = SD + "pipe = StableDiffusionPipeline.from_pretrained('org/sd')\n"


@pytest.fixture
def read(tmp_path):
    def read(source: str | bytes) -> ModelConfig:
        path = tmp_path / "model.py"
        path.write_bytes(source.encode() if isinstance(source, str) else source)
        return read_model_file(path)

    return read


# --- whole files, as people and language models write them ---------------------------------------------------------

REFERENCE = '''
"""Stable Diffusion 1.5, DDIM, 50 steps."""
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

model_id = "stable-diffusion-v1-5/stable-diffusion-v1-5"
scheduler = DDIMScheduler.from_pretrained(model_id, subfolder="scheduler")
pipe = StableDiffusionPipeline.from_pretrained(model_id, scheduler=scheduler, torch_dtype=torch.float16)
pipe = pipe.to("cuda")

if __name__ == "__main__":
    image = pipe("a photo of an astronaut riding a horse", num_inference_steps=50).images[0]
    image.save("astronaut.png")
'''

DEEPCACHE_AND_TOME = """
import argparse
import torch
import tomesd
from diffusers import StableDiffusionPipeline, DDIMScheduler as DDIM
from DeepCache import DeepCacheSDHelper

MODEL_ID = "stable-diffusion-v1-5/stable-diffusion-v1-5"
CALL = {"num_inference_steps": 50, "guidance_scale": 7.5}


def build(model_id: str = MODEL_ID, dtype=torch.float16):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipe = StableDiffusionPipeline.from_pretrained(model_id, torch_dtype=dtype, safety_checker=None)
    pipe.scheduler = DDIM.from_config(pipe.scheduler.config)
    return pipe.to(device)


def load_pipe():
    pipe = build()
    tomesd.apply_patch(pipe, ratio=0.5)
    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=3, cache_branch_id=0)
    helper.enable()
    _ = pipe("warm-up", num_inference_steps=2)
    return pipe


def pipe_forward(pipe, prompts, **call):
    with torch.inference_mode():
        return pipe(prompts, **{**CALL, **call}).images


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    pipe = load_pipe()
    pipe(["a cat"], num_inference_steps=args.steps).images[0].save("out.png")


if __name__ == "__main__":
    main()
"""

TGATE = """
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from tgate import TgateSDXLLoader

gate_step, inference_step = 10, 25


def load_pipe():
    pipe = StableDiffusionXLPipeline.from_pretrained(
        "stabilityai/stable-diffusion-xl-base-1.0", torch_dtype=torch.float16, variant="fp16", use_safetensors=True
    )
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe = TgateSDXLLoader(pipe, gate_step=gate_step, num_inference_steps=inference_step).to("cuda")
    return pipe


def pipe_forward(pipe, prompts, **call):
    return pipe.tgate(prompts, gate_step=gate_step, num_inference_steps=inference_step, **call)
"""

FLUX = """
import torch
from diffusers import FluxPipeline
from diffusers.hooks import FirstBlockCacheConfig, apply_first_block_cache
from torchao.quantization import float8_weight_only, quantize_

class Config:
    MODEL = "black-forest-labs/FLUX.1-dev"
    STEPS = 28

def load_pipe():
    pipe = FluxPipeline.from_pretrained(Config.MODEL, torch_dtype=torch.bfloat16).to("cuda")
    try:
        quantize_(pipe.transformer, float8_weight_only())
    except Exception as error:
        print(f"not quantised: {error}")
    pipe.transformer.fuse_qkv_projections()
    pipe.transformer.to(memory_format=torch.channels_last)
    apply_first_block_cache(pipe.transformer, FirstBlockCacheConfig(threshold=0.1))
    pipe.transformer = torch.compile(pipe.transformer, mode="max-autotune", fullgraph=True)
    return pipe

@torch.no_grad()
def pipe_forward(pipe, prompts, num_inference_steps=Config.STEPS, **call):
    call.setdefault("guidance_scale", 3.5)
    return pipe(prompts, num_inference_steps=num_inference_steps, **call)
"""


def test_whole_files(read):
    assert read(REFERENCE) == ModelConfig(
        "StableDiffusionPipeline",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "DDIMScheduler",
        50,
        ("half_precision",),
    )
    assert read(DEEPCACHE_AND_TOME) == ModelConfig(
        "StableDiffusionPipeline",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "DDIMScheduler",
        50,
        ("deepcache", "half_precision", "tome"),
    )
    assert read(TGATE) == ModelConfig(
        "StableDiffusionXLPipeline",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "DPMSolverMultistepScheduler",
        25,
        ("fast_sampler", "half_precision", "tgate"),
    )
    assert read(FLUX) == ModelConfig(
        "FluxPipeline",
        "black-forest-labs/FLUX.1-dev",
        None,
        28,
        (
            "block_cache",
            "channels_last",
            "fused_projections",
            "half_precision",
            "quantization",
            "torch_compile",
        ),
    )


def test_the_file_is_not_run(tmp_path):
    mark = tmp_path / "mark"
    path = tmp_path / "model.py"
    path.write_text(f"open({str(mark)!r}, 'w')\npipe = __import__('os').system('touch {mark}')\n")
    read_model_file(path)
    assert not mark.exists()


# --- model id ------------------------------------------------------------------------------------------------------

MODEL_IDS = {
    "literal": ("pipe = StableDiffusionPipeline.from_pretrained('org/sd')", "org/sd"),
    "keyword": (
        "pipe = StableDiffusionPipeline.from_pretrained(pretrained_model_name_or_path='org/sd')",
        "org/sd",
    ),
    "single file": ("pipe = StableDiffusionPipeline.from_single_file('sd.safetensors')", "sd.safetensors"),
    "constant": ("ID = 'org/sd'\npipe = StableDiffusionPipeline.from_pretrained(ID)", "org/sd"),
    "f-string": ("O = 'org'\npipe = StableDiffusionPipeline.from_pretrained(f'{O}/sd-{2}')", "org/sd-2"),
    "f-string with a format": ("V = 2\npipe = StableDiffusionPipeline.from_pretrained(f'sd-{V:>9}')", None),
    "sum": ("O = 'org'\npipe = StableDiffusionPipeline.from_pretrained(O + '/' + 'sd')", "org/sd"),
    "walrus": ("pipe = StableDiffusionPipeline.from_pretrained(ID := 'org/sd')", "org/sd"),
    "path": ("import os\npipe = StableDiffusionPipeline.from_pretrained(os.path.join('m', 'sd'))", "m/sd"),
    "pathlib": (
        "from pathlib import Path\npipe = StableDiffusionPipeline.from_pretrained(Path('m') / 'sd')",
        "m/sd",
    ),
    "constant in a function": (
        "def load_pipe():\n  model_id = 'org/sd'\n  return StableDiffusionPipeline.from_pretrained(model_id)",
        "org/sd",
    ),
    "default value": (
        "def load_pipe(model_id='org/sd', *, device='cuda'):\n"
        "  return StableDiffusionPipeline.from_pretrained(model_id).to(device)",
        "org/sd",
    ),
    "argument of a helper": (
        "def build(m, **k): return StableDiffusionPipeline.from_pretrained(m, **k)\n"
        "pipe = build('org/sd', variant='fp16')",
        "org/sd",
    ),
    "class attribute": (
        "class Config:\n  id = 'org/sd'\npipe = StableDiffusionPipeline.from_pretrained(Config.id)",
        "org/sd",
    ),
    "dictionary": (
        "C = {'id': 'org/sd', 'n': 50}\npipe = StableDiffusionPipeline.from_pretrained(C['id'])",
        "org/sd",
    ),
    "keyword dictionary": (
        "K = dict(pretrained_model_name_or_path='org/sd')\npipe = StableDiffusionPipeline.from_pretrained(**K)",
        "org/sd",
    ),
    "tuple": ("ID, N = 'org/sd', 50\npipe = StableDiffusionPipeline.from_pretrained(ID)", "org/sd"),
    "partial": (
        "import functools\nload_pipe = functools.partial(StableDiffusionPipeline.from_pretrained, 'org/sd')",
        "org/sd",
    ),
    "lambda": ("load_pipe = lambda: StableDiffusionPipeline.from_pretrained('org/sd')", "org/sd"),
    "global set by a function": (
        "pipe = None\ndef init():\n  global pipe\n  pipe = StableDiffusionPipeline.from_pretrained('org/sd')\ninit()",
        "org/sd",
    ),
    "made once": (
        "pipe = None\n_p = None\ndef load_pipe():\n  global _p\n  if _p is None:\n"
        "    _p = StableDiffusionPipeline.from_pretrained('org/sd')\n  return _p",
        "org/sd",
    ),
    "made once, in a dictionary": (
        "C = {}\ndef load_pipe():\n  if 'pipe' not in C:\n"
        "    C['pipe'] = StableDiffusionPipeline.from_pretrained('org/sd')\n  return C['pipe']",
        "org/sd",
    ),
    "assigned twice, the same": (
        "ID = 'org/sd'\nimport torch\nif torch.cuda.is_available():\n  ID = 'org/sd'\n"
        "pipe = StableDiffusionPipeline.from_pretrained(ID)",
        "org/sd",
    ),
    "assigned again": (
        "ID = 'org/a'\nID = 'org/b'\npipe = StableDiffusionPipeline.from_pretrained(ID)",
        "org/b",
    ),
    "assigned on a condition": (
        "import torch\nID = 'org/a'\nif torch.cuda.is_available():\n  ID = 'org/b'\n"
        "pipe = StableDiffusionPipeline.from_pretrained(ID)",
        None,
    ),
    "assigned in a loop": (
        "ID = 'org/a'\nfor x in y:\n  ID = ID + x\npipe = StableDiffusionPipeline.from_pretrained(ID)",
        None,
    ),
    "conditional expression": (
        "import torch\npipe = StableDiffusionPipeline.from_pretrained('a' if torch.cuda.is_available() else 'b')",
        None,
    ),
    "environment": (
        "import os\npipe = StableDiffusionPipeline.from_pretrained(os.environ.get('ID', 'org/sd'))",
        None,
    ),
    "environment or": (
        "import os\npipe = StableDiffusionPipeline.from_pretrained(os.getenv('ID') or 'org/sd')",
        None,
    ),
    "argparse": (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--id', default='org/sd')\n"
        "a = p.parse_args()\npipe = StableDiffusionPipeline.from_pretrained(a.id)",
        None,
    ),
    "relative to the working folder": (
        "import os\npipe = StableDiffusionPipeline.from_pretrained(os.path.abspath('sd'))",
        None,
    ),
    "components do not count": (
        "from diffusers import UNet2DConditionModel, AutoencoderKL\n"
        "u = UNet2DConditionModel.from_pretrained('org/u', subfolder='unet')\n"
        "v = AutoencoderKL.from_pretrained('org/v')\n"
        "pipe = StableDiffusionPipeline.from_pretrained('org/sd', unet=u, vae=v)\n"
        "w = AutoencoderKL.from_pretrained('org/w')",
        "org/sd",
    ),
    "two pipelines": (
        "base = StableDiffusionPipeline.from_pretrained('org/base')\n"
        "pipe = StableDiffusionPipeline.from_pretrained('org/sd')\n"
        "refiner = StableDiffusionPipeline.from_pretrained('org/refiner')",
        "org/sd",
    ),
    "a global pipe comes before load_pipe": (
        "pipe = StableDiffusionPipeline.from_pretrained('org/a')\n"
        "def load_pipe(): return StableDiffusionPipeline.from_pretrained('org/b')",
        "org/a",
    ),
    "from components": ("pipe = StableDiffusionPipeline(vae=1, unet=2)", None),
    "dead code": (
        "if False:\n  pipe = StableDiffusionPipeline.from_pretrained('org/a')\n"
        "if 0:\n  pipe = 1\nelse:\n  pipe = StableDiffusionPipeline.from_pretrained('org/sd')",
        "org/sd",
    ),
    "comments and strings": (
        "# pipe = StableDiffusionPipeline.from_pretrained('org/a')\n"
        "'''pipe = StableDiffusionPipeline.from_pretrained('org/b')'''\n"
        "pipe = StableDiffusionPipeline.from_pretrained('org/sd')",
        "org/sd",
    ),
    "a failing first try that ends the program": (
        "import sys\ntry:\n  pipe = StableDiffusionPipeline.from_pretrained('org/sd')\nexcept OSError:\n  sys.exit(1)",
        "org/sd",
    ),
    "a second try with the same model": (
        "try:\n  pipe = StableDiffusionPipeline.from_pretrained('org/sd', variant='fp16')\n"
        "except OSError:\n  pipe = StableDiffusionPipeline.from_pretrained('org/sd')",
        "org/sd",
    ),
    "a second try with another model": (
        "try:\n  pipe = StableDiffusionPipeline.from_pretrained('org/a')\n"
        "except OSError:\n  pipe = StableDiffusionPipeline.from_pretrained('org/b')",
        None,
    ),
    "not storable": ("pipe = StableDiffusionPipeline.from_pretrained('\\ud800')", None),
    "endless recursion": ("def load_pipe(): return load_pipe()", None),
    "beside endless recursion": (
        "def f(n): return f(n - 1)\nf(3)\npipe = StableDiffusionPipeline.from_pretrained('org/sd')",
        "org/sd",
    ),
    "text that doubles": (
        "x = 'a'\n" + "x = x + x\n" * 60 + "pipe = StableDiffusionPipeline.from_pretrained(x)",
        None,
    ),
}


@pytest.mark.parametrize(("source", "expected"), MODEL_IDS.values(), ids=MODEL_IDS.keys())
def test_model_id(read, source, expected):
    assert read(SD + source).model_id == expected


@pytest.mark.parametrize(
    "expression",
    [
        "Path(__file__).parent / 'models' / 'sd'",
        "Path(__file__).resolve().parents[0].joinpath('models/sd')",
        "os.path.join(os.path.dirname(os.path.abspath(__file__)), 'models', 'sd')",
        "str(Path(__file__).absolute().parent) + '/models/sd'",
        "f'{Path(__file__).parent}/models/sd'",
    ],
)
def test_model_id_beside_the_file(read, tmp_path, expression):
    source = f"import os\nfrom pathlib import Path\n{SD}pipe = StableDiffusionPipeline.from_pretrained({expression})"
    assert read(source).model_id == str(tmp_path / "models" / "sd")


# --- pipeline class ------------------------------------------------------------------------------------------------

CLASSES = {
    "alias": (
        "from diffusers import StableDiffusionXLPipeline as P\npipe = P.from_pretrained('x')",
        "StableDiffusionXLPipeline",
    ),
    "module alias": (
        "import diffusers as d\npipe = d.StableDiffusionPipeline.from_pretrained('x')",
        "StableDiffusionPipeline",
    ),
    "star import": (
        "from diffusers import *\npipe = StableDiffusionPipeline.from_pretrained('x')",
        "StableDiffusionPipeline",
    ),
    "class in a variable": (
        "import diffusers\nC = diffusers.FluxPipeline\npipe = C.from_pretrained('x')",
        "FluxPipeline",
    ),
    "imported in the function": (
        "def load_pipe():\n  from diffusers import FluxPipeline\n  return FluxPipeline.from_pretrained('x')",
        "FluxPipeline",
    ),
    "from components": (
        "from diffusers import PixArtAlphaPipeline\npipe = PixArtAlphaPipeline(vae=1)",
        "PixArtAlphaPipeline",
    ),
    "from another pipeline": (
        "from diffusers import DiffusionPipeline, StableDiffusionPAGPipeline\n"
        "base = DiffusionPipeline.from_pretrained('x')\npipe = StableDiffusionPAGPipeline.from_pipe(base)",
        "StableDiffusionPAGPipeline",
    ),
    "generic loader": (
        "from diffusers import DiffusionPipeline\npipe = DiffusionPipeline.from_pretrained('x')",
        None,
    ),
    "auto loader": (
        "from diffusers import AutoPipelineForText2Image as A\npipe = A.from_pretrained('x')",
        None,
    ),
    "community pipeline": (PIPE.replace("'org/sd'", "'x', custom_pipeline='lpw'"), None),
    "class on a condition": (
        "import diffusers, torch\nC = diffusers.FluxPipeline if torch.cuda.is_available() else diffusers.SanaPipeline\n"
        "pipe = C.from_pretrained('x')",
        None,
    ),
    "wrapper of the file": (
        SD + "class Fast:\n  def __init__(self): self.pipe = StableDiffusionPipeline.from_pretrained('x')\n"
        "  def __call__(self, p): return self.pipe(p)\npipe = Fast()",
        None,
    ),
    "imported pipe": ("from elsewhere import pipe", None),
    "wrapped by torch.compile": (
        "import torch\n" + PIPE + "pipe = torch.compile(pipe)",
        "StableDiffusionPipeline",
    ),
    "partial of a pipeline": (
        PIPE + "import functools\npipe = functools.partial(pipe, num_inference_steps=5)",
        "StableDiffusionPipeline",
    ),
}


@pytest.mark.parametrize(("source", "expected"), CLASSES.values(), ids=CLASSES.keys())
def test_pipeline_class(read, source, expected):
    assert read(source).pipeline_class == expected


# --- scheduler -----------------------------------------------------------------------------------------------------

SCHEDULERS = {
    "not mentioned": ("", None),
    "replaced": ("pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)", "DDIMScheduler"),
    "constructed": ("pipe.scheduler = DDIMScheduler(num_train_timesteps=1000)", "DDIMScheduler"),
    "by name": (
        "s = EulerDiscreteScheduler.from_pretrained('x', subfolder='scheduler')\npipe.scheduler = s",
        "EulerDiscreteScheduler",
    ),
    "alias": (
        "from diffusers import LCMScheduler as L\npipe.scheduler = L.from_config(pipe.scheduler.config)",
        "LCMScheduler",
    ),
    "module alias": (
        "import diffusers as d\npipe.scheduler = d.schedulers.UniPCMultistepScheduler.from_config({})",
        "UniPCMultistepScheduler",
    ),
    "the last one wins": (
        "pipe.scheduler = DDIMScheduler.from_config({})\npipe.scheduler = EulerDiscreteScheduler.from_config({})",
        "EulerDiscreteScheduler",
    ),
    "through a helper": (
        "def prepare(p):\n  p.scheduler = DDIMScheduler.from_config({})\n  return p\npipe = prepare(pipe)",
        "DDIMScheduler",
    ),
    "from a table": (
        "S = {'ddim': DDIMScheduler, 'euler': EulerDiscreteScheduler}\npipe.scheduler = S['euler'].from_config({})",
        "EulerDiscreteScheduler",
    ),
    "through register_modules": ("pipe.register_modules(scheduler=DDIMScheduler())", "DDIMScheduler"),
    "kept by from_config of an object": (
        "pipe.scheduler = DDIMScheduler()\npipe.scheduler = pipe.scheduler.from_config(pipe.scheduler.config)",
        "DDIMScheduler",
    ),
    "on a condition": (
        "import torch\nif torch.cuda.is_available():\n  pipe.scheduler = DDIMScheduler()",
        None,
    ),
    "on both ways the same": (
        "import torch\nif torch.cuda.is_available():\n  pipe.scheduler = DDIMScheduler()\n"
        "else:\n  pipe.scheduler = DDIMScheduler(beta_end=1)",
        "DDIMScheduler",
    ),
    "where it may fail": (
        "try:\n  pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)\nexcept Exception:\n  pass",
        None,
    ),
    "on a condition that is known": (
        "FAST = True\nif FAST:\n  pipe.scheduler = EulerDiscreteScheduler()\nelse:\n  pipe.scheduler = DDIMScheduler()",
        "EulerDiscreteScheduler",
    ),
    "of another pipeline": (
        "other = StableDiffusionPipeline.from_pretrained('y')\nother.scheduler = DDIMScheduler()",
        None,
    ),
    "in the call": (
        "def pipe_forward(pipe, prompts):\n  pipe.scheduler = DDIMScheduler()\n  return pipe(prompts)",
        "DDIMScheduler",
    ),
    "in the part that is not run": ("if __name__ == '__main__':\n  pipe.scheduler = DDIMScheduler()", None),
    "in a function that is not called": ("def unused():\n  pipe.scheduler = DDIMScheduler()", None),
    "by a factory": ("from elsewhere import make\npipe.scheduler = make('ddim')", None),
    "an attribute of the scheduler": ("pipe.scheduler.config.steps_offset = 1", None),
}


@pytest.mark.parametrize(("source", "expected"), SCHEDULERS.values(), ids=SCHEDULERS.keys())
def test_scheduler_class(read, source, expected):
    assert read(PIPE + source).scheduler_class == expected


def test_scheduler_as_an_argument(read):
    source = SD + "s = DDIMScheduler()\npipe = StableDiffusionPipeline{}(**{{'scheduler': s}})"
    assert read(source.format("")).scheduler_class == "DDIMScheduler"
    assert read(source.format(".from_pretrained")).scheduler_class == "DDIMScheduler"


# --- steps ---------------------------------------------------------------------------------------------------------

FORWARD = "def pipe_forward(pipe, prompts, **call):\n  "
STEPS = {
    "module": ("image = pipe('a', num_inference_steps=50).images[0]", 50),
    "main": ("if __name__ == '__main__':\n  image = pipe('a', num_inference_steps=50).images[0]", 50),
    "main in a function": (
        "def main(): x = pipe('a', num_inference_steps=50)\nif '__main__' == __name__: main()",
        50,
    ),
    "saved at once": ("pipe('a', num_inference_steps=50).images[0].save('a.png')", 50),
    "forward": (FORWARD + "return pipe(prompts, num_inference_steps=50, **call)", 50),
    "lambda": ("pipe_forward = lambda pipe, prompts, **c: pipe(prompts, num_inference_steps=50, **c)", 50),
    "constant": ("N = 25 * 2\n" + FORWARD + "return pipe(prompts, num_inference_steps=N)", 50),
    "parameter": (
        "def pipe_forward(pipe, prompts, num_inference_steps=50, **call):\n"
        "  return pipe(prompts, num_inference_steps=num_inference_steps, **call)",
        50,
    ),
    "keyword-only parameter": (
        "def pipe_forward(p, prompts, *, steps: int = 50): return p(prompts, num_inference_steps=steps)",
        50,
    ),
    "dictionary": ("CALL = {'num_inference_steps': 50}\n" + FORWARD + "return pipe(prompts, **CALL)", 50),
    "dict()": ("CALL = dict(num_inference_steps=50)\n" + FORWARD + "return pipe(prompts, **CALL)", 50),
    "item": (FORWARD + "call['num_inference_steps'] = 50\n  return pipe(prompts, **call)", 50),
    "update": (FORWARD + "call.update(num_inference_steps=50)\n  return pipe(prompts, **call)", 50),
    "update by a dictionary": (
        FORWARD + "call.update({'num_inference_steps': 50})\n  return pipe(prompts, **call)",
        50,
    ),
    "setdefault": (FORWARD + "call.setdefault('num_inference_steps', 50)\n  return pipe(prompts, **call)", 50),
    "pop": (
        FORWARD + "n = call.pop('num_inference_steps', 50)\n  return pipe(prompts, num_inference_steps=n, **call)",
        50,
    ),
    "merged": (FORWARD + "return pipe(prompts, **{**call, 'num_inference_steps': 50})", 50),
    "merged with |": (FORWARD + "return pipe(prompts, **(call | {'num_inference_steps': 50}))", 50),
    "dictionary overridden": (
        FORWARD + "CALL = dict(num_inference_steps=20)\n  return pipe(prompts, **{**CALL, 'num_inference_steps': 50})",
        50,
    ),
    "default value that may be overridden": (
        "import x\ndef go(p, t, n=50): return p(t, num_inference_steps=n)\n"
        + FORWARD
        + "return go(pipe, prompts, **x.y())",
        None,
    ),
    "changed in a method that nobody calls": (
        "N = 50\nclass A:\n  def f(self):\n    global N\n    N = 5\na = A()\nx = pipe('a', num_inference_steps=N)",
        50,
    ),
    "merged under something unknown": (
        "import x\n" + FORWARD + "return pipe(prompts, **{'num_inference_steps': 50, **x.y()})",
        None,
    ),
    "partial": (
        "import functools\nrun = functools.partial(pipe, num_inference_steps=50)\n"
        + FORWARD
        + "return run(prompts, **call)",
        50,
    ),
    "partial as the pipeline": (
        "from functools import partial\npipe = partial(pipe, num_inference_steps=50)",
        50,
    ),
    "T-GATE": (FORWARD + "return pipe.tgate(prompts, gate_step=10, num_inference_steps=50)", 50),
    "one by one": (
        FORWARD + "return [pipe(p, num_inference_steps=50).images[0] for p in prompts]",
        50,
    ),
    "wrapper function": (
        "def go(p, *args, **kwargs): return p(*args, **kwargs)\n"
        + FORWARD
        + "return go(pipe, prompts, num_inference_steps=50)",
        50,
    ),
    "pipeline of unknown make": (
        "from elsewhere import pipe\n" + FORWARD + "return pipe(prompts, num_inference_steps=50)",
        50,
    ),
    "forward wins": (
        FORWARD + "return pipe(prompts, num_inference_steps=50)\n"
        "if __name__ == '__main__': x = pipe('a', num_inference_steps=20)",
        50,
    ),
    "forward that leaves it open": (
        FORWARD + "return pipe(prompts)\nif __name__ == '__main__': x = pipe('a', num_inference_steps=20)",
        None,
    ),
    "warm-up": (
        "pipe('a', num_inference_steps=2)\n_ = pipe('a', num_inference_steps=3).images[0]\n"
        "if __name__ == '__main__': x = pipe('a', num_inference_steps=50)",
        50,
    ),
    "only a warm-up": ("pipe('a', num_inference_steps=2)", None),
    "two numbers": (
        FORWARD + "a = pipe(prompts, num_inference_steps=50)\n  return pipe(prompts, num_inference_steps=20)",
        None,
    ),
    "changed in a loop": (
        "n = 50\nfor x in range(3):\n  image = pipe('a', num_inference_steps=n)\n  n = n - 10",
        None,
    ),
    "on a condition": (
        FORWARD + "if len(prompts) > 1: call['num_inference_steps'] = 50\n  return pipe(prompts, **call)",
        None,
    ),
    "environment": (
        "import os\n" + FORWARD + "return pipe(prompts, num_inference_steps=int(os.getenv('N', '50')))",
        None,
    ),
    "no number": (FORWARD + "return pipe(prompts, num_inference_steps='50')", None),
    "truth value": (FORWARD + "return pipe(prompts, num_inference_steps=True)", None),
    "not called": ("", None),
}


@pytest.mark.parametrize(("source", "expected"), STEPS.values(), ids=STEPS.keys())
def test_num_inference_steps(read, source, expected):
    assert read(PIPE + source).num_inference_steps == expected


def test_the_warm_up_in_load_pipe_does_not_state_the_steps(read):
    source = SD + (
        "def load_pipe():\n  pipe = StableDiffusionPipeline.from_pretrained('x')\n"
        "  image = pipe('a', num_inference_steps=2)\n  return pipe"
    )
    assert read(source).num_inference_steps is None


# --- methods -------------------------------------------------------------------------------------------------------

METHOD_SOURCES = {
    "DeepCache": (
        "from DeepCache import DeepCacheSDHelper as H\nh = H(pipe=pipe)\nh.set_params(cache_interval=3)\nh.enable()",
        "deepcache",
    ),
    "DeepCache not enabled": (
        "from DeepCache import DeepCacheSDHelper\nh = DeepCacheSDHelper(pipe=pipe)",
        "",
    ),
    "DeepCache that may be missing": (
        "try:\n  from DeepCache import DeepCacheSDHelper\nexcept ImportError:\n  DeepCacheSDHelper = None\n"
        "if DeepCacheSDHelper is not None:\n  h = DeepCacheSDHelper(pipe=pipe)\n  h.enable()",
        "deepcache",
    ),
    "DeepCache's own pipeline": (
        "import DeepCache.sd.pipeline_stable_diffusion as d\npipe = d.StableDiffusionPipeline.from_pretrained('x')",
        "deepcache",
    ),
    "ToMe": ("import tomesd\ntomesd.apply_patch(pipe, ratio=0.5)", "tome"),
    "ToMe by name": ("from tomesd import apply_patch as merge\nmerge(pipe)", "tome"),
    "imported only": ("import tomesd\nfrom DeepCache import DeepCacheSDHelper\nfrom tgate import TgateSDLoader", ""),
    "T-GATE": ("from tgate import TgateSDLoader\npipe = TgateSDLoader(pipe, gate_step=10)", "tgate"),
    "T-GATE with DeepCache": (
        "from tgate import TgateSDDeepCacheLoader\npipe = TgateSDDeepCacheLoader(pipe, cache_interval=3)",
        "deepcache tgate",
    ),
    "fast sampler": (
        "from diffusers import UniPCMultistepScheduler as U\npipe.scheduler = U.from_config({})",
        "fast_sampler",
    ),
    "Euler chosen": ("pipe.scheduler = EulerDiscreteScheduler.from_config({})", "fast_sampler"),
    "DDIM is not fast": ("pipe.scheduler = DDIMScheduler.from_config({})", ""),
    "fast sampler only asked for": (
        "from diffusers import LCMScheduler\nx = isinstance(pipe.scheduler, LCMScheduler)",
        "",
    ),
    "half precision": ("import torch\npipe.to(dtype=torch.bfloat16)", "half_precision"),
    "half()": ("pipe.unet.half()", "half_precision"),
    "half precision by a default": (
        "import torch\ndef cast(p, dtype=torch.float16): p.to(dtype)\ncast(pipe)",
        "half_precision",
    ),
    "torch.compile": ("import torch\npipe.unet = torch.compile(pipe.unet)", "torch_compile"),
    "compile()": ("pipe.unet.compile(mode='default')", "torch_compile"),
    "compile as a decorator": (
        "import torch\n@torch.compile\ndef pipe_forward(p, t, **c): return p(t)",
        "torch_compile",
    ),
    "re.compile": ("import re\nx = re.compile('a')", ""),
    "xFormers": ("pipe.enable_xformers_memory_efficient_attention()", "xformers"),
    "xFormers as a backend": ("pipe.transformer.set_attention_backend('xformers')", "xformers"),
    "SDPA processor": (
        "from diffusers.models.attention_processor import AttnProcessor2_0 as A\npipe.unet.set_attn_processor(A())",
        "sdpa",
    ),
    "SDPA backend": ("pipe.transformer.set_attention_backend('flash')", "sdpa"),
    "SDPA switch": ("import torch\ntorch.backends.cuda.enable_flash_sdp(True)", "sdpa"),
    "torchao": (
        "from torchao.quantization import quantize_, int8_weight_only\nquantize_(pipe.unet, int8_weight_only())",
        "quantization",
    ),
    "bitsandbytes": (
        "from diffusers import BitsAndBytesConfig\nc = BitsAndBytesConfig(load_in_8bit=True)",
        "quantization",
    ),
    "quantisation of a pipeline": (
        "from diffusers.quantizers import PipelineQuantizationConfig as Q\nc = Q(quant_backend='torchao')",
        "quantization",
    ),
    "quanto": (
        "from optimum.quanto import freeze, qint8, quantize\nquantize(pipe.unet, qint8)\nfreeze(pipe.unet)",
        "quantization",
    ),
    "cache-dit": ("import cache_dit\ncache_dit.enable_cache(pipe)", "block_cache"),
    "ParaAttention": (
        "from para_attn.first_block_cache.diffusers_adapters import apply_cache_on_pipe\napply_cache_on_pipe(pipe)",
        "block_cache",
    ),
    "enable_cache": (
        "from diffusers import FasterCacheConfig\npipe.transformer.enable_cache(FasterCacheConfig())",
        "block_cache",
    ),
    "LCM LoRA": ("pipe.load_lora_weights('latent-consistency/lcm-lora-sdv1-5')", "distilled_lora"),
    "Lightning LoRA": (
        "REPO = 'ByteDance/SDXL-Lightning'\npipe.load_lora_weights(REPO, weight_name='4step_lora.safetensors')",
        "distilled_lora",
    ),
    "another LoRA": ("pipe.load_lora_weights('org/watercolour-style')", ""),
    "fused projections": ("pipe.fuse_qkv_projections()", "fused_projections"),
    "channels-last": ("import torch\npipe.unet.to(memory_format=torch.channels_last)", "channels_last"),
    "no accelerations": ("pipe.enable_attention_slicing()\npipe.enable_model_cpu_offload()", ""),
    "strings and comments": ("# pipe.unet.half()\nx = 'tomesd.apply_patch(pipe); torch.compile(pipe)'", ""),
    "dead code": ("if False:\n  import tomesd\n  tomesd.apply_patch(pipe)", ""),
    "function that is not called": ("def unused():\n  pipe.unet.half()", ""),
    "part that is not run": ("if __name__ == '__main__':\n  pipe.unet.half()", ""),
    "after the return": (
        "def f():\n  return 1\n  pipe.unet.half()\nf()",
        "",
    ),
    "in a class of the file": (
        "class Fast:\n  def __init__(self, p): self.p = p\n  def on(self): self.p.unet.half()\nx = Fast(pipe)",
        "half_precision",
    ),
}


@pytest.mark.parametrize(("source", "expected"), METHOD_SOURCES.values(), ids=METHOD_SOURCES.keys())
def test_methods(read, source, expected):
    assert read(PIPE + source).methods == tuple(expected.split())


def test_every_method_has_signs_and_is_tested():
    assert SIGNS.keys() == METHODS.keys()
    assert {name for _, names in METHOD_SOURCES.values() for name in names.split()} == METHODS.keys()


# --- files that nothing can be read from ---------------------------------------------------------------------------

NO_PIPELINE = {
    "empty": "",
    "only in a string": "x = 'pipe = 1'",
    "only in the main part": "if __name__ == '__main__':\n  pipe = 1",
    "only in a function": "def f():\n  pipe = 1\nf()",
    "only as an attribute": "x.pipe = 1",
    "only in dead code": "if False:\n  pipe = 1",
    "after the end": "import sys\nsys.exit(0)\npipe = 1",
    "other names": "pipeline = 1\ndef load_pipeline(): pass",
}


@pytest.mark.parametrize("source", NO_PIPELINE.values(), ids=NO_PIPELINE.keys())
def test_no_pipeline(read, source):
    with pytest.raises(ModelFileError, match=r"model\.py:1: .*`pipe`.*`load_pipe\(\)`") as error:
        read(source)
    assert error.value.kind is Problem.NO_PIPELINE


@pytest.mark.parametrize(
    "source",
    [
        "import x\nif x.y:\n  pipe = 1",
        "try:\n  pipe = 1\nexcept E:\n  pass",
        "with x() as pipe:\n  pass",
        "for pipe in x:\n  pass",
        "from x import pipe",
        "import x as pipe",
        "import pipe",
        "pipe, y = x()",
        "pipe: object = 1",
        "(pipe := 1)",
        "def later():\n  global pipe\n  pipe = 1",
        "def load_pipe(): pass",
        "async def load_pipe(): pass",
        "class load_pipe: pass",
        "load_pipe = lambda: 1",
        "from x import make as load_pipe",
        "match x:\n  case 1:\n    pipe = 1",
    ],
)
def test_a_pipeline_of_unknown_make(read, source):
    assert read(source) == ModelConfig(None, None, None, None)


def test_syntax_errors_name_file_and_line(read):
    with pytest.raises(ModelFileError, match=r"model\.py:2: ") as error:
        read("pipe = 1\nif True\n")
    assert error.value.kind is Problem.SYNTAX


@pytest.mark.parametrize(
    "source",
    [
        b"pipe = 1\0",
        b"pipe = '\xff'",
        b"# coding: no-such-codec\npipe = 1",
        b"# coding: zlib\npipe = 1",
        b"pipe = " + b"(" * 5000,
        b"pipe = " + b"-" * 200_000 + b"1",
        b"pipe = a" + b".b" * 100_000,
        b"pipe = " + b"1+" * 100_000 + b"1",
        b"pipe = " + b"9" * 10_000,
    ],
)
def test_what_python_cannot_parse(read, source):
    with pytest.raises(ModelFileError, match=r"model\.py:\d+: .") as error:
        read(source)
    assert error.value.kind is Problem.SYNTAX


def test_unreadable_files(tmp_path):
    pipe = tmp_path / "pipe.py"
    os.mkfifo(pipe)  # opening it would wait for ever
    large = tmp_path / "large.py"
    large.write_text("pipe = 1\n" + "#" * (1 << 20))
    for path in (tmp_path / "missing.py", tmp_path, pipe, large, Path("/dev/zero"), Path("a\0b")):
        with pytest.raises(ModelFileError) as error:
            read_model_file(path)
        assert error.value.kind is Problem.UNREADABLE
        assert str(path) in str(error.value)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "source",
    [
        "pipe = 1\n" + "".join(f"def f{i}(): f{i - 1}(); f{i - 1}()\n" for i in range(1, 40)) + "f39()",
        "pipe = 1\n" + "".join("  " * i + "for x in y:\n" for i in range(40)) + "  " * 40 + "z = 1",
        "pipe = 1\nx = (1, 2)\ny = (1, 2)\n" + "x = (x, x)\ny = (y, y)\n" * 60 + "if z:\n  x = y",
        "pipe = 1\nx = a\n" + "x = x.b\n" * 40_000,
        "pipe = 1\n" + "x = 'a' * 999999999\n" * 500,
        "pipe = 1\n" + "".join(f"x{i} = 1\n" for i in range(9_000)) + "if a: b = 1\n" * 9_000,
        "pipe = " + "1 + " * 800 + "1",
        "pipe = f(" * 80 + ")" * 80,
        "def load_pipe(): return " + "load_pipe(" * 80 + ")" * 80,
    ],
)
def test_files_made_to_be_slow_are_read_all_the_same(read, source):
    assert read(source) == ModelConfig(None, None, None, None)


@settings(max_examples=200, deadline=None)
@given(source=st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_arbitrary_input_raises_nothing_else(source):
    try:
        read_config(source if isinstance(source, bytes) else source.encode(errors="surrogatepass"), Path("/model.py"))
    except SourceError as error:
        assert error.kind in (Problem.SYNTAX, Problem.NO_PIPELINE)


LINES = (DEEPCACHE_AND_TOME + TGATE + FLUX).splitlines()


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(st.sampled_from(LINES).map(str.strip), max_size=30), depth=st.lists(st.integers(0, 1)))
def test_arbitrary_programs_raise_nothing_else(lines, depth):
    # Mostly valid lines in any order, some of them in the body of the one before.
    body = [f"if x:\n {line}" if deep else line for line, deep in zip(lines, depth, strict=False)]
    try:
        read_config("\n".join(["load_pipe = 1", *body]).encode(), Path("/model.py"))
    except SourceError as error:
        assert error.kind is Problem.SYNTAX


# --- comparison ----------------------------------------------------------------------------------------------------


def test_comparison_of_matching_files(tmp_path):
    reference, candidate = tmp_path / "reference.py", tmp_path / "candidate.py"
    reference.write_text(REFERENCE)
    candidate.write_text(DEEPCACHE_AND_TOME)
    comparison = compare_model_configs(reference, str(candidate))
    assert comparison.matches
    assert str(comparison) == ""
    assert comparison.reference.methods != comparison.candidate.methods


def test_comparison_names_each_field_and_both_values(tmp_path):
    reference, candidate = tmp_path / "reference.py", tmp_path / "candidate.py"
    reference.write_text(REFERENCE)
    candidate.write_text(TGATE)
    comparison = compare_model_configs(reference, candidate)
    assert not comparison.matches
    assert str(comparison).splitlines() == [
        "pipeline_class: reference StableDiffusionPipeline, candidate StableDiffusionXLPipeline",
        "model_id: reference stable-diffusion-v1-5/stable-diffusion-v1-5, "
        "candidate stabilityai/stable-diffusion-xl-base-1.0",
        "scheduler_class: reference DDIMScheduler, candidate DPMSolverMultistepScheduler",
        "num_inference_steps: reference 50, candidate 25",
    ]
    difference = comparison.differences[3]
    assert (difference.field, difference.reference, difference.candidate) == ("num_inference_steps", 50, 25)


def test_comparison_passes_on_what_is_wrong_with_a_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"missing\.py: no such file"):
        compare_model_configs(ModelConfig(None, None, None, None), tmp_path / "missing.py")


@pytest.mark.parametrize("hidden", [0, 1])
def test_a_line_break_in_a_name_does_not_break_the_line(hidden):
    configs = [ModelConfig(None, name, None, None) for name in ("org/sd", "\x1b[2Jfoo\nPASS")]
    comparison = compare_model_configs(configs[hidden], configs[1 - hidden])
    assert len(str(comparison).splitlines()) == 1
    assert "\x1b" not in str(comparison)
