"""Pushes `best/` and its model card to a hub: privately by default, with HF_TOKEN."""

import os

from huggingface_hub import HfApi
from huggingface_hub.utils.tqdm import disable_progress_bars

from ostinato.config import ExportConfig
from ostinato.errors import ConfigError
from ostinato.model.trained import verify_best
from ostinato.redaction import redact
from ostinato.run_dir import RunDir

_MAX_REASON = 200  # characters


def push(cfg: ExportConfig, run: RunDir) -> str:
    """Uploads `best/` in one commit.

    Args:
        cfg: repository, and whether it is private.
        run: run folder.

    Returns:
        URL of the commit.

    Raises:
        ConfigError: no trained model, no token, an error of the hub, or a public
            repository with private=true.
    """
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise ConfigError(
            ["format=hub: HF_TOKEN is not set; set it to a token with write access"]
        )
    if not run.best_config.is_file():
        raise ConfigError(
            [
                f"run={run.path}: holds no trained model (no best/); has the run "
                "finished?"
            ]
        )
    verify_best(run)
    disable_progress_bars()
    api = HfApi(token=token)
    try:
        return _upload(api, cfg, run)
    except ConfigError:
        raise
    # The hub client and its HTTP library have no common error class.
    except Exception as error:
        message = redact(str(error)).replace(token, "***")
        reason = " ".join(message.split())[:_MAX_REASON]
        raise ConfigError(
            [f"repo={cfg.repo}: could not be pushed to {api.endpoint} ({reason})"]
        ) from None


def _upload(
    api: HfApi,
    cfg: ExportConfig,
    run: RunDir,
) -> str:
    created = api.create_repo(str(cfg.repo), private=cfg.private, exist_ok=True)
    repo = created.repo_id
    # An existing repository keeps its visibility.
    is_public = not api.model_info(repo).private
    if is_public and cfg.private:
        raise ConfigError(
            [
                f"repo={cfg.repo}: exists and is public; set private=false to push to "
                "a public repository"
            ]
        )
    message = f"{run.path.absolute().name}, by ostinato"
    commit = api.upload_folder(
        repo_id=repo, folder_path=run.best, commit_message=message
    )
    return str(commit.commit_url)
