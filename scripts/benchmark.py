"""Measure the speed of the program.

python scripts/benchmark.py mode=training turns=3
"""

from pathlib import Path

from ostinato.cli.command import command
from ostinato.cli.terminal import print_json
from ostinato.cli.training_command import compose_run
from ostinato.config import BenchmarkConfig


@command("benchmark")
def main(config: BenchmarkConfig) -> None:
    """Prints the measurements as JSON."""
    run_config = compose_run(config.overrides)
    from ostinato.proof.benchmark import benchmark
    from ostinato.storage.outputs import check_output, holds, write_metrics

    if config.output:
        check_output(Path(config.output), ".json", holds("mode", "machine"))
    measurements = benchmark(config, run_config, Path(__file__))
    print_json(measurements)
    if config.output:
        write_metrics(Path(config.output), measurements)


if __name__ == "__main__":
    main()
