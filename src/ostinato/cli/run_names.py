"""Checks the name of a run, which is the end of its folder's name."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ostinato.cli.interpolation import masked

# File systems allow 255 bytes. The folder's name also has the time, or the number and
# the digest of the job.
_MAX_BYTES = 200


def problems_of_name(cfg: DictConfig) -> list[str]:
    """The mistake in the name of a run, as a list of at most one line."""
    try:
        name = str(OmegaConf.select(cfg, "name"))
    except OmegaConfBaseException:
        return []  # `to_config` reports it

    unresolved: Any = OmegaConf.to_container(cfg, resolve=False)
    typed = unresolved["name"]
    if "${oc.env:" in str(masked(cfg).get("name")):
        return [
            f"name={typed}: is part of the name of the run's folder, which others can "
            "see; write it without oc.env"
        ]
    rule = _broken_rule(name)
    if rule is None:
        return []
    return [f"name={typed}: {rule}, because the run's folder is named after it"]


def _broken_rule(name: str) -> str | None:
    """The rule for the name of a folder that this name breaks, if any."""
    if not name.strip():
        return "must have a visible character"
    if not name.isprintable() or "/" in name or "\\" in name:
        return "must not have slashes, backslashes or control characters"
    if name.startswith("."):
        return "must not start with a dot"
    num_bytes = len(name.encode())  # printable, so it can be encoded
    if num_bytes > _MAX_BYTES:
        return f"must have at most {_MAX_BYTES} bytes, not {num_bytes}"
    return None
