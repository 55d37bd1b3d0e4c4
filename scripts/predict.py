"""Label texts.

python scripts/predict.py run=outputs/<run> input=new.csv output=out.csv
"""

import logging

from ostinato.cli.command import command, load_run
from ostinato.config import DataConfig, PredictConfig
from ostinato.run_dir import RunDir


@command("predict")
def main(config: PredictConfig) -> None:
    """Writes a prediction for each row."""
    data = DataConfig()
    if RunDir.given(config.run).config.is_file():
        _, run_config = load_run(config.run)
        data = run_config.data
    from ostinato.inference.stream import predict

    count = predict(
        config,
        config.text_column or data.text_column,
        config.text_pair_column or data.text_pair_column,
    )
    logging.getLogger("ostinato").info("%d rows labelled", count)


if __name__ == "__main__":
    main()
