"""What a run computes on and with, and digests of what it computed."""

from typing import cast

from ostinato.config import RunConfig, Source
from ostinato.data.assets import asset_hashes
from ostinato.data.tokenise import tokenizer_digest
from ostinato.record.digests import digest_weights
from ostinato.record.provenance import environment
from ostinato.record.schema import Fingerprint, Identity, Provenance
from ostinato.training.loop import Training
from ostinato.training.prepare import Prepared, prepare


def describe_start(config: RunConfig) -> Provenance:
    """What a run of this config would start from on this machine; trains nothing.

    Returns:
        The content of its `provenance.json`.

    Raises:
        UserError: the data, the model or the machine's devices do not fit the config.
    """
    return provenance_of(config, prepare(config))


def provenance_of(
    config: RunConfig, prepared: Prepared, diff: bool = False
) -> Provenance:
    """The content of a run's `provenance.json` at its start.

    Args:
        config: the run's config.
        prepared: data and model.
        diff: keep the text of uncommitted changes, not only its digest.
    """
    facts = {
        **environment(diff),
        "assets": _asset_digests(config),
        **_identity(prepared),
    }
    return cast(Provenance, facts)


def fingerprint_of(
    training: Training, initial_weights: str, predictions: dict[str, str]
) -> Fingerprint:
    """The content of a run's `fingerprint.json`.

    Args:
        training: after its end.
        initial_weights: digest of the weights before the first step.
        predictions: digest of each split's logits.

    Raises:
        CheckpointError: files of the run changed while it trained.
    """
    steps = [step.record() for step in training.steps()]
    evaluations = {str(scores["step"]): scores for scores in training.state.validation}
    return {
        **_identity(training.prepared),
        "initial_weights": initial_weights,
        "steps": steps,
        "evaluations": evaluations,
        "weights": digest_weights(training.prepared.model.state_dict()),
        "best_weights": training.state.best_sha256,
        "best_files": dict(training.best_model.verified_files()),
        "predictions": predictions,
    }


def _identity(prepared: Prepared) -> Identity:
    """Digests of data, tokens and an adapter's base; device, precision, attention."""
    data = prepared.data
    texts = filter(None, (data.train, data.val, data.test))
    identity: Identity = {
        "data": {split.name: split.sha256 for split in texts},
        "tokenizer": tokenizer_digest(prepared.tokenizer),
        "token_ids": {split.name: split.sha256 for split in prepared.splits},
        "device": str(prepared.compute.device),
        "precision": prepared.compute.precision.value,
        "attention": prepared.model.config._attn_implementation,
    }
    if prepared.base is not None:
        identity["base"] = {**prepared.base}
    return identity


def _asset_digests(config: RunConfig) -> dict[str, dict[str, str]]:
    """SHA-256 of each file of the model and data set that come from packages."""
    names = []
    if config.model.name.startswith("asset:"):
        names.append(config.model.name.removeprefix("asset:"))
    if config.data.source is Source.asset and config.data.name:
        names.append(config.data.name)
    return {name: asset_hashes(name) for name in names}
