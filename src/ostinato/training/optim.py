"""AdamW with its parameter groups, and the learning rate as a pure function of the step."""

import math

import torch
from torch import nn
from torch.optim import AdamW
from transformers import PreTrainedModel

from ostinato.config import Schedule, TrainingConfig
from ostinato.errors import ConfigError
from ostinato.model.architecture import depths


def build_optimizer(model: PreTrainedModel, cfg: TrainingConfig) -> AdamW:
    """Makes AdamW, fused into one kernel per step.

    Matrices decay, biases and norms do not. Each group carries `peak_lr`: the highest rate that it sees. It is
    `head_lr` for the head and the pooler, and lower by `layer_lr_decay` for each layer below.

    Raises:
        ConfigError: a rate by layer, and a model whose layers cannot be told apart.
    """
    peak_lr = _peak_lrs(model, cfg)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            rate = peak_lr.get(id(parameter), cfg.lr)
            groups.setdefault((rate, parameter.ndim >= 2), []).append(parameter)
    settings = [
        {
            "params": members,
            "weight_decay": cfg.weight_decay if decays else 0.0,
            "peak_lr": peak_lr,
        }
        for (peak_lr, decays), members in groups.items()
    ]
    return AdamW(settings, lr=cfg.lr, betas=cfg.betas, eps=cfg.eps, fused=True)


def set_lr(optimizer: AdamW, factor: float) -> None:
    """Sets each group's learning rate to `factor` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def lr_factor(
    step: int, total_steps: int, warmup_ratio: float, schedule: Schedule
) -> float:
    """Learning rate of a step as a share of the peak, in (0, 1].

    Args:
        step: optimizer step, counted from zero.
        total_steps: steps of the whole training.
        warmup_ratio: share of the steps over which the rate rises linearly.
        schedule: what follows; `linear` and `cosine` would reach zero one step after the last.
    """
    warmup = math.ceil(warmup_ratio * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    if schedule is Schedule.constant:
        return 1.0
    if schedule is Schedule.linear:
        return 1.0 - progress
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _peak_lrs(model: PreTrainedModel, cfg: TrainingConfig) -> dict[int, float]:
    """Peak rate by `id(parameter)`; empty where all have `training.lr`."""
    if cfg.head_lr is None and cfg.layer_lr_decay == 1:
        return {}
    found = depths(model)
    if cfg.layer_lr_decay != 1 and not found.layers_found:
        layout = f"{model.config.model_type} is not one list of layers with weights of their own"
        raise ConfigError(
            [
                f"training.layer_lr_decay={cfg.layer_lr_decay}: {layout}; use layer_lr_decay=1"
            ]
        )
    top = found.num_layers + 1
    rates = {
        key: cfg.lr * cfg.layer_lr_decay ** (top - depth)
        for key, depth in found.by_parameter.items()
    }
    if cfg.head_lr is not None:
        rates |= {
            key: cfg.head_lr
            for key, depth in found.by_parameter.items()
            if depth == top
        }
    return rates


def clip_gradients(model: nn.Module, max_norm: float | None) -> torch.Tensor:
    """Scales gradients down to an L2 norm of `max_norm` (None: never); returns the norm before, on the device."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if gradients[
        0
    ].is_cpu:  # torch's own takes three times as long and is off by 5e-4 for a vocabulary's gradient
        flat = (gradient.reshape(-1) for gradient in gradients)
        norm = torch.stack([torch.dot(g, g) for g in flat]).sum().sqrt()
    else:
        norm = torch.nn.utils.get_total_norm(gradients)
    if max_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), max_norm, norm)
    return norm
