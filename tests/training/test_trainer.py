"""The loop that trains all parts, on the CPU and on a problem whose answer is known."""

import pytest
import torch
from torch import nn

from training.trainer import Recipe, Trainer

RECIPE = Recipe(
    steps=300,
    batch=64,
    peak_rate=0.05,
    warm_up=10,
    weight_decay=0.0,
    betas=(0.9, 0.99),
    averaging=0.9,
    seed=0,
)


def test_the_rate_rises_then_falls_to_nearly_nothing():
    rates = [RECIPE.rate(step) for step in range(RECIPE.steps)]
    assert rates[0] < rates[5] < max(rates) <= RECIPE.peak_rate
    assert rates[RECIPE.warm_up :] == sorted(rates[RECIPE.warm_up :], reverse=True)
    assert rates[-1] < 0.001 * RECIPE.peak_rate


def test_a_linear_model_learns_the_line():
    torch.manual_seed(RECIPE.seed)
    model = nn.Linear(2, 1)

    def loss() -> torch.Tensor:
        inputs = torch.randn(RECIPE.batch, 2)
        wanted = inputs @ torch.tensor([[2.0], [-3.0]]) + 1
        return ((model(inputs) - wanted) ** 2).mean()

    Trainer([model], loss, RECIPE).train()
    assert model.weight.tolist()[0] == pytest.approx([2.0, -3.0], abs=0.01)
    assert model.bias.tolist() == pytest.approx([1.0], abs=0.01)
