"""Writes `best/README.md`, the model card in the format of the Hugging Face Hub.

The card names data, metrics, seeds, digests and the training command. It contains no
folder of the training machine, and nothing is sent.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ostinato.config import RunConfig, Source, Task
from ostinato.redaction import redact
from ostinato.report.text import (
    BASELINES,
    data_name,
    number,
    plain,
    title,
    training_command,
)
from ostinato.run_dir import RunDir
from ostinato.storage.atomic import write_text
from ostinato.templates import environment

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

# The folders of an absolute path, without its last part.
_FOLDERS = re.compile(r"(?<=[=,\[{'\"])[/~][^\s,'\"\]}]*/")

_PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "numpy")

# Name of a metric on the Hub, and its arguments there. Other metrics keep their names.
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
    """Writes the model card beside the best weights, atomically.

    Args:
        run: run folder.
        config: config of the run.
        results: metrics and data of `results.json`.
        provenance: content of `provenance.json`.
        fingerprint: content of `fingerprint.json`.
    """
    text = model_card(run, config, results, provenance, fingerprint)
    write_text(run.model_card, text)


def model_card(
    run: RunDir,
    config: RunConfig,
    results: Mapping[str, Any],
    provenance: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
) -> str:
    """Renders the model card: metadata as YAML, then Markdown.

    Args:
        run: run folder.
        config: config of the run.
        results: metrics and data of `results.json`.
        provenance: content of `provenance.json`.
        fingerprint: content of `fingerprint.json`.
    """
    versions = provenance["packages"]
    packages = [f"{name} {versions[name]}" for name in _PACKAGES if name in versions]
    template = environment().get_template("model_card.md")
    content = template.render(
        metadata=_metadata(config, results).to_yaml(),
        config=config,
        model=_display_name(config.model.name),
        data=data_name(config.data),
        results=results,
        provenance=provenance,
        fingerprint=fingerprint,
        weights=run.best_weights.name,
        needs_run=_needs_run(config),
        splits=[name for name in ("val", "test") if name in results],
        baseline=BASELINES[config.data.task],
        packages=", ".join(packages),
        command=_FOLDERS.sub(".../", training_command(run) or ""),
        commit=(provenance.get("git") or {}).get("commit"),
        number=number,
        title=title,
    )
    return str(ModelCard(plain(content)))


def _needs_run(config: RunConfig) -> bool:
    """Whether only the run folder leads to the base model of an adapter."""
    found_by_peft = config.model.pretrained and not config.model.name.startswith(
        "asset:"
    )
    return config.model.adapter is not None and not found_by_peft


def _metadata(config: RunConfig, results: Mapping[str, Any]) -> ModelCardData:
    is_hub_data = config.data.source is Source.hub
    hub_metrics = set()
    for split in ("val", "test"):
        for name in _metrics(results, split):
            hub_metrics.add(_hub_metric(name)[0])
    return ModelCardData(
        model_name=config.name,
        base_model=config.model.name if _is_on_hub(config.model.name) else None,
        datasets=[str(config.data.name)] if is_hub_data else None,
        library_name="peft" if config.model.adapter else "transformers",
        pipeline_tag="text-classification",
        tags=["text-classification", "ostinato"],
        metrics=sorted(hub_metrics),
        eval_results=_eval_results(config, results) or None,
    )


def _eval_results(config: RunConfig, results: Mapping[str, Any]) -> list[EvalResult]:
    data = config.data
    is_regression = data.task is Task.regression
    found = []
    for split in ("test", "val"):
        for name, value in _metrics(results, split).items():
            metric, arguments = _hub_metric(name)
            result = EvalResult(
                task_type="text-classification",
                task_name="Text regression" if is_regression else "Text classification",
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
            found.append(result)
    return found


def _metrics(results: Mapping[str, Any], split: str) -> dict[str, float]:
    values = results.get(split, {})
    return {name: values[name] for name in values if isinstance(values[name], float)}


def _hub_metric(name: str) -> tuple[str, dict[str, Any] | None]:
    """Name and arguments of a metric on the Hub."""
    return _HUB_METRICS.get(name, (name, None))


def _is_on_hub(name: str) -> bool:
    return bool(_HUB_NAME.fullmatch(name)) and not Path(name).is_dir()


def _display_name(name: str) -> str:
    """Name of a model; only the last part for a local folder."""
    name = redact(name)
    if _is_on_hub(name) or name.startswith("asset:"):
        return name
    return Path(name).name
