"""Fine-tune a sequence classifier.

python scripts/train.py training.lr=3e-5
"""

from typing import Any

from ostinato.cli.training_command import training_command
from ostinato.config import RunConfig
from ostinato.run_dir import RunDir


@training_command
def main(config: RunConfig, run: RunDir, resolved: dict[str, Any]) -> float:
    """Trains a model.

    Returns:
        The best validation metric.
    """
    from ostinato.run.train import train  # imports torch

    return train(config, run, resolved)


if __name__ == "__main__":
    main()
