"""Chooses the plots of a report; `svg_plots` draws them."""

from ostinato.config import Task
from ostinato.report import svg_plots
from ostinato.report.row_groups import HEADLINES
from ostinato.report.run_contents import RunContents
from ostinato.report.text import number
from ostinato.scoring.metrics import default_monitor, probabilities


def curves(run: RunContents) -> list[str]:
    """Plots of the logged metrics, as SVG."""
    plots = {
        "Loss": ("train/loss", "val/loss"),
        "Validation": _validation_metrics(run),
        "Learning rate": ("train/lr",),
        "Gradient norm": ("train/grad_norm",),
    }
    drawn = []
    for title, names in plots.items():
        logged = {name: run.metrics[name] for name in names if run.metrics.get(name)}
        if logged:
            best_step = run.results.get("best_step")
            is_log = title == "Gradient norm"
            drawn.append(svg_plots.curves(title, logged, best_step, is_log))
    return drawn


def _validation_metrics(run: RunContents) -> tuple[str, ...]:
    """Up to two metrics, the monitored one first; the loss has its own plot."""
    monitor = run.config.training.monitor or default_monitor(run.task)
    names = dict.fromkeys((monitor, *HEADLINES[run.task]))
    names.pop("loss", None)
    return tuple(f"val/{name}" for name in list(names)[:2])


def reliability(run: RunContents) -> list[str]:
    """Reliability diagrams before and after temperature scaling, as SVG."""
    if run.calibration is None or run.main_split is None:
        return []
    logits, labels = run.predictions[run.main_split]
    temperature = number(run.calibration.temperature, 3)
    sides = {
        "Before scaling": logits,
        f"At temperature {temperature}": run.calibration.scaled(logits),
    }
    drawn = []
    for title, scaled in sides.items():
        values = probabilities(run.task, scaled)
        if run.task is Task.single_label:
            confidence = values.max(axis=1)
            correct = values.argmax(axis=1) == labels
        else:
            confidence = values.ravel()
            correct = labels.ravel()
        drawn.append(svg_plots.reliability(title, confidence, correct))
    return drawn


def regression(run: RunContents) -> list[str]:
    """For regression: predictions over labels, and the errors, as SVG."""
    if run.task is not Task.regression or run.main_split is None:
        return []
    logits, labels = run.predictions[run.main_split]
    predicted = probabilities(Task.regression, logits)[:, 0]
    return [
        svg_plots.scatter("Predicted and true", labels, predicted),
        svg_plots.residuals("Errors", predicted - labels),
    ]
