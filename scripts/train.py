"""Fine-tune a sequence classifier: python scripts/train.py training.lr=3e-5"""

from typing import Any

from ostinato.cli.command import command
from ostinato.config import RunConfig
from ostinato.run_dir import RunDir


@command("train")
def main(config: RunConfig, run: RunDir, resolved: dict[str, Any]) -> float:
    """Trains, and returns the best validation metric."""
    from ostinato.run.train import (
        train,
    )  # torch loads only when there is something to train

    return train(config, run, resolved)


if __name__ == "__main__":
    main()
