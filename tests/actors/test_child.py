"""What the child counts of a pipeline."""

from actors.child import LoadedModel
from tests.actors.model_files import HONEST, honest_but


def calls(source: str) -> int | None:
    model = LoadedModel("/nowhere/candidate.py", source.encode(), {}, None)
    model.generate(["a"], [1])
    return model.denoiser_calls


def test_a_denoiser_that_is_never_called_was_called_no_times():
    unet = "GreyPipeline.unet = torch.nn.Identity()"
    assert calls(honest_but(load=unet, call="self.unet(1)\nself.unet(1)")) == 2
    assert calls(honest_but(load=unet)) == 0, "and not unknown: a candidate that only paints is seen by this"


def test_where_there_is_no_denoiser_nothing_is_counted():
    assert calls(HONEST) is None
