"""The text that `--help` prints."""

from ostinato.cli.schemas import SCHEMAS, groups, options_of, reference

_FLAGS = (
    "--cfg job prints the composed config, --hydra-help lists the flags, "
    "and -m runs a sweep."
)


def help_text(command: str) -> str:
    """What `--help` prints.

    Hydra's own help takes more than half a second, because it copies the whole schema
    once per group.

    Args:
        command: name of the command.
    """
    lines = [
        str(SCHEMAS[command].__doc__),
        "",
        f"  python scripts/{command}.py key=value ...",
        "",
    ]
    if command == "train":
        lines += ["Groups (group=option)", "", *_group_lines(), ""]
    lines += ["Keys [default; presets may differ]", "", *_key_lines(command), ""]
    lines += [_FLAGS, ""]
    return "\n".join(lines)


def _group_lines() -> list[str]:
    lines = []
    for group in sorted(groups()):
        options = ", ".join(options_of(group))
        lines.append(f"  {group}: {options}")
    return lines


def _key_lines(command: str) -> list[str]:
    keys = reference(command)
    width = max(len(key) for key, _, _ in keys)
    lines = []
    for key, default, documentation in keys:
        lines.append(f"  {key:<{width}}  {documentation} [{default}]")
    return lines
