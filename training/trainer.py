"""One training loop for all models: AdamW, a cosine rate, an average of the weights, a whole step as one CUDA graph."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

WARM_UP_STEPS_OF_A_CAPTURE = 3
LOG_EVERY = 500


@dataclass(frozen=True)
class Recipe:
    """How one model is trained."""

    steps: int
    batch: int
    peak_rate: float
    """Learning rate after the warm-up."""
    warm_up: int
    """Steps in which the rate rises; afterwards it falls along a cosine to zero at the last step."""
    weight_decay: float
    """Of matrices; vectors have none."""
    betas: tuple[float, float]
    """AdamW's."""
    averaging: float
    """Decay of the exponential average of the weights, which is what is kept."""
    seed: int

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / self.warm_up)
        return self.peak_rate * rise * (0.5 + 0.5 * math.cos(math.pi * step / self.steps))


class Trainer:
    """Trains `modules` on the loss that `loss` computes; `loss` makes its own data and must not wait for the device.

    On a GPU the whole step (data, forward, backward, optimizer, average) is captured once and then replayed: models
    this small are otherwise bound by Python's launches, at less than a third of the speed.
    """

    def __init__(self, modules: Sequence[nn.Module], loss: Callable[[], Tensor], recipe: Recipe) -> None:
        self._loss = loss
        self._recipe = recipe
        self._parameters = [parameter for module in modules for parameter in module.parameters()]
        self._average = [parameter.detach().clone() for parameter in self._parameters]
        self._on_gpu = self._parameters[0].is_cuda
        matrices = [parameter for parameter in self._parameters if parameter.ndim > 1]
        vectors = [parameter for parameter in self._parameters if parameter.ndim <= 1]
        self._rate = torch.zeros((), device=self._parameters[0].device)
        self._optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": recipe.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=self._rate,
            betas=recipe.betas,
            fused=self._on_gpu,
            capturable=self._on_gpu,
        )
        self._last_loss = torch.zeros_like(self._rate)
        self._run_step = self._captured() if self._on_gpu else self._step

    def train(self) -> None:
        """Runs all steps and leaves the averaged weights in the modules."""
        started = time.monotonic()
        for step in range(self._recipe.steps):
            self._rate.fill_(self._recipe.rate(step))
            self._run_step()
            if (step + 1) % LOG_EVERY == 0 or step + 1 == self._recipe.steps:
                # Reading the loss waits for the device, so the speed is that of finished steps.
                loss, seconds = float(self._last_loss), time.monotonic() - started
                print(f"step {step + 1} loss {loss:.5f}, {(step + 1) / seconds:.1f} steps/s", flush=True)
        torch._foreach_copy_([parameter.detach() for parameter in self._parameters], self._average)

    def _step(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        weights = [parameter.detach() for parameter in self._parameters]
        torch._foreach_lerp_(self._average, weights, 1 - self._recipe.averaging)
        self._last_loss.copy_(loss.detach())

    def _captured(self) -> Callable[[], None]:
        """Captures the step as a CUDA graph; weights, average and optimizer are afterwards as before."""
        weights = [parameter.detach().clone() for parameter in self._parameters]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_STEPS_OF_A_CAPTURE):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        torch._foreach_copy_([parameter.detach() for parameter in self._parameters], weights)
        torch._foreach_copy_(self._average, weights)
        for state in self._optimizer.state.values():
            for value in state.values():
                value.zero_()
        replay: Callable[[], None] = graph.replay
        return replay
