"""Muon for the weight matrices, AdamW for everything else.

Muon replaces a matrix's momentum by the nearest orthogonal matrix, so that all
directions of the update get the same size; small transformers reach the same
loss in clearly fewer examples. The iteration runs on a stack of all matrices
of one shape, in float32, because CPUs are slow at bfloat16.
"""

import torch

ADAM_RATE = 3e-3
MUON_RATE = 0.02
MOMENTUM = 0.95
WEIGHT_DECAY = 0.02
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalised(stack, steps=5):
    a, b, c = NEWTON_SCHULZ
    wide = stack.shape[-2] <= stack.shape[-1]
    x = stack if wide else stack.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    def __init__(self, matrices):
        by_shape = {}
        for matrix in matrices:
            by_shape.setdefault(matrix.shape, []).append(matrix)
        super().__init__([{"params": group} for group in by_shape.values()], {"lr": MUON_RATE})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            rate, matrices = group["lr"], group["params"]
            update = orthogonalised(torch.stack([self.look_ahead(matrix) for matrix in matrices]))
            rows, columns = matrices[0].shape
            scale = rate * max(1.0, rows / columns) ** 0.5
            for matrix, direction in zip(matrices, update):
                matrix.mul_(1 - rate * WEIGHT_DECAY).add_(direction, alpha=-scale)

    def look_ahead(self, matrix):
        """Nesterov momentum of the gradient."""
        state = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(state["momentum"], MOMENTUM)


class Optimizers:
    """Both optimizers as one: step, schedule, save and restore."""

    def __init__(self, model):
        weights = dict(model.named_parameters())
        matrices = [w for name, w in weights.items() if w.dim() == 2 and "embed" not in name]
        rest = [w for name, w in weights.items() if w.dim() == 1 or "embed" in name]
        self.parts = [(Muon(matrices), MUON_RATE),
                      (torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0), ADAM_RATE)]

    def step(self, factor):
        for optimizer, rate in self.parts:
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self):
        return [optimizer.state_dict() for optimizer, _ in self.parts]

    def load_state_dict(self, states):
        for (optimizer, _), state in zip(self.parts, states):
            optimizer.load_state_dict(state)
