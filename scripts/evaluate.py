"""Evaluate a finished run.

python scripts/evaluate.py run=outputs/<run> split=test
"""

from pathlib import Path

from ostinato.cli.command import command, load_run
from ostinato.cli.terminal import print_json
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
    print_json(metrics)
    if config.output:
        write_metrics(Path(config.output), metrics)


if __name__ == "__main__":
    main()
