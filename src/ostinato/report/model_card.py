"""`best/README.md`: the model card, in the Hub's format, with the metrics as metadata that the Hub can read.

Says what the run knows: data, metrics, seeds, digests, the command. What only people know is left to them, in words.
Holds no folder of the machine that trained, and sends nothing.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ostinato.config import RunConfig, Source, Task
from ostinato.redaction import redact
from ostinato.report.text import (
    data_name,
    number,
    percent,
    plain,
    title,
    training_command,
)
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import write_text
from ostinato.templates import environment

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_OWN_FOLDER = re.compile(
    r"(?<=[=,\[{'\"])[/~][^\s,'\"\]}]*/"
)  # an absolute path, but for its last part

# Name of a metric on the Hub, and its arguments there. Metrics that it has no name for keep their own.
_HUB_METRICS: Mapping[str, tuple[str, dict[str, Any] | None]] = {
    "macro_f1": ("f1", {"average": "macro"}),
    "micro_f1": ("f1", {"average": "micro"}),
    "weighted_f1": ("f1", {"average": "weighted"}),
    "mcc": ("matthews_correlation", None),
    "auroc": ("roc_auc", None),
    "pearson": ("pearsonr", None),
    "spearman": ("spearmanr", None),
    "brier": ("brier_score", None),
    "map": ("mean_average_precision", None),
}


def write_model_card(
    run: RunDir,
    config: RunConfig,
    results: Mapping[str, Any],
    provenance: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
) -> None:
    """Writes the card beside the best weights, whole or not at all.

    Args:
        run: the run's folder.
        config: its config.
        results: what `results.json` holds of metrics and data.
        provenance: what `provenance.json` holds.
        fingerprint: what `fingerprint.json` holds.
    """
    write_text(
        run.model_card, model_card(run, config, results, provenance, fingerprint)
    )


def model_card(
    run: RunDir,
    config: RunConfig,
    results: Mapping[str, Any],
    provenance: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
) -> str:
    """The card's text: metadata, then Markdown; see `write_model_card`."""
    content = (
        environment()
        .get_template("model_card.md")
        .render(
            metadata=_metadata(config, results).to_yaml(),
            config=config,
            model=_shown_name(config.model.name),
            data=data_name(config.data),
            results=results,
            provenance=provenance,
            fingerprint=fingerprint,
            splits=[name for name in ("val", "test") if name in results],
            command=_OWN_FOLDER.sub(".../", training_command(run) or ""),
            commit=(provenance.get("git") or {}).get("commit"),
            number=number,
            percent=percent,
            title=title,
        )
    )
    return str(ModelCard(plain(content)))


def _metadata(config: RunConfig, results: Mapping[str, Any]) -> ModelCardData:
    hub = config.data.source is Source.hub
    return ModelCardData(
        model_name=config.name,
        base_model=config.model.name if _on_hub(config.model.name) else None,
        datasets=[str(config.data.name)] if hub else None,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["text-classification", "ostinato"],
        metrics=sorted(
            {
                _hub_metric(name)[0]
                for split in ("val", "test")
                for name in _metrics(results, split)
            }
        ),
        eval_results=list(_eval_results(config, results)) or None,
    )


def _eval_results(
    config: RunConfig, results: Mapping[str, Any]
) -> Iterator[EvalResult]:
    data = config.data
    for split in ("test", "val"):
        for name, value in _metrics(results, split).items():
            metric, arguments = _hub_metric(name)
            yield EvalResult(
                task_type="text-classification",
                task_name="Text regression"
                if data.task is Task.regression
                else "Text classification",
                dataset_type=str(data.name or data.source.value),
                dataset_name=data_name(data),
                dataset_config=data.subset,
                dataset_split="validation" if split == "val" else split,
                dataset_revision=data.revision,
                metric_type=metric,
                metric_name=title(name),
                metric_args=arguments,
                metric_value=value,
            )


def _metrics(results: Mapping[str, Any], split: str) -> dict[str, float]:
    return {
        name: value
        for name, value in results.get(split, {}).items()
        if isinstance(value, float)
    }


def _hub_metric(name: str) -> tuple[str, dict[str, Any] | None]:
    return _HUB_METRICS.get(name, (name, None))


def _on_hub(name: str) -> bool:
    return bool(_HUB_NAME.fullmatch(name)) and not Path(name).is_dir()


def _shown_name(name: str) -> str:
    """A model's name; of a local folder the last part only."""
    name = redact(name)
    return name if _on_hub(name) or name.startswith("asset:") else Path(name).name
