"""Which pictures a report shows of a run, in which order. `drawings` draws them."""

from ostinato.config import Task
from ostinato.report import drawings as draw
from ostinato.report.errors_and_groups import HEADLINES
from ostinato.report.material import Material
from ostinato.report.text import number
from ostinato.scoring.metrics import default_monitor, probabilities

_CURVES = (
    ("Loss", ("train/loss", "val/loss"), False),
    ("Learning rate", ("train/lr",), False),
    ("Gradient norm", ("train/grad_norm",), True),
)


def curves(m: Material) -> list[str]:
    """Pictures of what was logged."""
    metrics, best = m.metrics, m.results.get("best_step")
    monitor = m.config.training.monitor or default_monitor(m.task)
    shown = [
        name for name in dict.fromkeys((monitor, *HEADLINES[m.task])) if name != "loss"
    ]  # it has its own
    wanted = [*_CURVES]
    wanted.insert(1, ("Validation", tuple(f"val/{name}" for name in shown[:2]), False))
    drawn = []
    for head, names, log in wanted:
        there = {name: metrics[name] for name in names if metrics.get(name)}
        if there:
            drawn.append(draw.curves(head, there, best, log))
    return drawn


def reliability(m: Material) -> list[str]:
    """Pictures of what confidence is worth, before and after scaling."""
    if m.calibration is None or m.main is None:
        return []
    logits, labels = m.predictions[m.main]
    temperature = number(m.calibration.temperature, 3)
    pictures = []
    for head, scaled in (
        ("Before scaling", logits),
        (f"At temperature {temperature}", m.calibration.scaled(logits)),
    ):
        values = probabilities(m.task, scaled)
        if m.task is Task.single_label:
            pairs = values.max(axis=1), values.argmax(axis=1) == labels
        else:
            pairs = values.ravel(), labels.ravel()
        pictures.append(draw.reliability(head, *pairs))
    return pictures


def predictions(m: Material) -> list[str]:
    """Regression: predicted over true values, and the errors."""
    if m.task is not Task.regression or m.main is None:
        return []
    logits, labels = m.predictions[m.main]
    predicted = probabilities(Task.regression, logits)[:, 0]
    return [
        draw.scatter("Predicted and true", labels, predicted),
        draw.residuals("Errors", predicted - labels),
    ]
