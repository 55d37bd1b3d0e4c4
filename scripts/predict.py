"""Label texts with a finished run: python scripts/predict.py run=outputs/<run> input=new.csv output=labelled.csv"""

import logging

from ostinato.cli.command import command, load_run
from ostinato.config import DataConfig, PredictConfig
from ostinato.run_dir import RunDir


@command("predict")
def main(config: PredictConfig) -> None:
    """Writes a prediction for each row."""
    data = (
        load_run(config.run)[1].data
        if RunDir(config.run).config.is_file()
        else DataConfig()
    )
    from ostinato.inference.stream import predict

    count = predict(
        config,
        config.text_column or data.text_column,
        config.text_pair_column or data.text_pair_column,
    )
    logging.getLogger("ostinato").info("%d rows labelled", count)


if __name__ == "__main__":
    main()
