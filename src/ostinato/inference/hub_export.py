"""Pushes a run's `best/` to a hub, model card and all: privately unless told otherwise, with the token in HF_TOKEN."""

import os

from huggingface_hub import HfApi
from huggingface_hub.utils.tqdm import disable_progress_bars

from ostinato.config import ExportConfig
from ostinato.errors import ConfigError
from ostinato.model.trained import verify_best
from ostinato.redaction import redact
from ostinato.run_dir import RunDir


def push(cfg: ExportConfig, run: RunDir) -> str:
    """Uploads `best/` as one commit; returns its address.

    Raises:
        ConfigError: no trained model, no token, a hub that refuses or cannot be reached, or a public repository where
            a private one was asked for.
    """
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise ConfigError(
            ["format=hub: HF_TOKEN is not set; put a token with write access there"]
        )
    if not run.best_config.is_file():
        raise ConfigError(
            [
                f"run={run.path}: holds no trained model (no best/); has the run finished?"
            ]
        )
    verify_best(run)
    disable_progress_bars()
    api = HfApi(token=token)
    try:
        repo = api.create_repo(
            str(cfg.repo), private=cfg.private, exist_ok=True
        ).repo_id
        public = not api.model_info(repo).private  # one that was there keeps what it is
        if public and cfg.private:
            raise ConfigError(
                [
                    f"repo={cfg.repo}: is there and public; private=false pushes to it all the same"
                ]
            )
        message = f"{run.path.absolute().name}, by ostinato"
        return str(
            api.upload_folder(
                repo_id=repo, folder_path=run.best, commit_message=message
            ).commit_url
        )
    except ConfigError:
        raise
    except Exception as error:  # of the hub's client, or of what it speaks HTTP with: they have no common class
        reason = " ".join(redact(str(error)).replace(token, "***").split())[:200]
        raise ConfigError(
            [f"repo={cfg.repo}: could not be pushed to {api.endpoint} ({reason})"]
        ) from None
