"""Export a finished run to ONNX, to the Hub, or to a folder without adapter.

python scripts/export.py run=outputs/<run>
"""

from ostinato.cli.command import command, load_run
from ostinato.cli.terminal import print_results
from ostinato.config import ExportConfig, ExportFormat


@command("export")
def main(config: ExportConfig) -> None:
    """Prints the folder of the files, or the address of the commit."""
    run, run_config = load_run(config.run)
    if config.format is ExportFormat.hub:
        from ostinato.inference.hub_export import push

        written = push(config, run)
    elif config.format is ExportFormat.merged:
        from ostinato.inference.merged_export import export_merged

        written = str(export_merged(config, run, run_config))
    else:
        from ostinato.inference.onnx_export import export_onnx

        written = str(export_onnx(config, run, run_config))
    print_results(written)


if __name__ == "__main__":
    main()
