"""Evaluate a finished run.

python scripts/evaluate.py run=outputs/<run> split=test
"""

import json
import sys
from pathlib import Path

from ostinato.cli.command import command, load_run
from ostinato.config import EvaluateConfig


@command("evaluate")
def main(config: EvaluateConfig) -> None:
    """Prints the metrics as JSON."""
    run, run_config = load_run(config.run)
    from ostinato.run.evaluate import evaluate
    from ostinato.storage.outputs import check_output, holds, write_metrics

    if config.output:
        check_output(Path(config.output), ".json", holds("num_rows", "majority"))
    metrics = evaluate(config, run, run_config)
    json.dump(metrics, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
    if config.output:
        write_metrics(Path(config.output), metrics)


if __name__ == "__main__":
    main()
