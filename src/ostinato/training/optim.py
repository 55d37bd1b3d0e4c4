"""The optimizer and its parameter groups; the learning rate by the step."""

import math

import torch
from torch import nn
from torch.optim import Adafactor, AdamW, Optimizer
from transformers import PreTrainedModel

from ostinato.config import OptimizerName, Schedule, TrainingConfig
from ostinato.errors import ConfigError
from ostinato.model.architecture import depths


def build_optimizer(model: PreTrainedModel, cfg: TrainingConfig) -> Optimizer:
    """Makes AdamW, fused into one kernel per step, or Adafactor.

    Matrices decay; biases and norms do not. Each group has a `peak_lr`: its highest
    rate. It is `head_lr` for the head and the pooler, and is multiplied by
    `layer_lr_decay` for each layer below.

    Raises:
        ConfigError: the rate depends on the layer, but the layers of the model cannot
            be found.
    """
    peak_lrs = _peak_lrs(model, cfg)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        peak_lr = peak_lrs.get(id(parameter), cfg.lr)
        decays = parameter.ndim >= 2
        groups.setdefault((peak_lr, decays), []).append(parameter)

    settings = []
    for (peak_lr, decays), members in groups.items():
        weight_decay = cfg.weight_decay if decays else 0.0
        settings.append(
            {"params": members, "weight_decay": weight_decay, "peak_lr": peak_lr}
        )
    if cfg.optimizer.name is OptimizerName.adafactor:
        own = cfg.optimizer
        return Adafactor(
            settings,
            lr=cfg.lr,
            beta2_decay=own.beta2_decay,
            eps=(own.eps1, own.eps2),
            d=own.d,
        )
    return AdamW(settings, lr=cfg.lr, betas=cfg.betas, eps=cfg.eps, fused=True)


def set_lr(optimizer: Optimizer, factor: float) -> None:
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
        schedule: the rate after the warmup; `linear` and `cosine` would reach zero one
            step after the last.
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


def clip_gradients(model: nn.Module, max_norm: float | None) -> torch.Tensor:
    """Scales gradients down to an L2 norm of `max_norm`.

    Args:
        model: with gradients.
        max_norm: None never scales.

    Returns:
        The norm before, scalar on the device.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if gradients[0].is_cpu:
        # torch's own function takes three times as long, and its result for the
        # gradient of a vocabulary is wrong by 5e-4.
        flat = [gradient.reshape(-1) for gradient in gradients]
        squares = torch.stack([torch.dot(gradient, gradient) for gradient in flat])
        norm = squares.sum().sqrt()
    else:
        norm = torch.nn.utils.get_total_norm(gradients)
    if max_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), max_norm, norm)
    return norm


def _peak_lrs(model: PreTrainedModel, cfg: TrainingConfig) -> dict[int, float]:
    """Peak rate by `id(parameter)`; empty if all have `training.lr`."""
    decay = cfg.layer_lr_decay
    if cfg.head_lr is None and decay == 1:
        return {}
    found = depths(model, "training.head_lr, training.layer_lr_decay")
    if decay != 1 and not found.layers_found:
        name = model.config.model_type
        layout = f"{name} is not one list of layers with weights of their own"
        raise ConfigError(
            [f"training.layer_lr_decay={decay}: {layout}; use layer_lr_decay=1"]
        )

    top = found.num_layers + 1
    rates = {}
    for key, depth in found.by_parameter.items():
        rates[key] = cfg.lr * decay ** (top - depth)
        if cfg.head_lr is not None and depth == top:
            rates[key] = cfg.head_lr
    return rates
