"""The errors that are the user's to mend: shown in one line each, without a traceback, with exit code 2."""


class UserError(ValueError):
    """A mistake that the user can mend; the message names the key or file, the value and the remedy."""


class ConfigError(UserError):
    """One or several wrong values on the command line or in a config file.

    Attributes:
        problems: one line per problem.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class DataError(UserError):
    """Data that cannot be trained on or predicted from; names file, row and remedy."""


class AssetError(UserError):
    """A model or data set that could not be fetched, verified or unpacked."""


class TrainingDiverged(UserError):
    """A loss or gradient that is no number any more; names step and learning rate."""


class DeterminismError(UserError):
    """An operation that has no deterministic implementation, under `training.determinism=strict`; names it."""


class CheckpointError(UserError):
    """A checkpoint that could not be written: disk full, or no permission."""


class StorageError(UserError):
    """A file that could not be written: the disk is full, or there is no permission."""


class ResumeRefused(ConfigError):
    """A run that would not go on as it began; nothing of it was touched."""


class Interrupted(Exception):
    """A training that a signal ended at a step boundary, with a checkpoint.

    Attributes:
        exit_code: 128 and the signal's number, as shells have it.
    """

    def __init__(self, message: str, signal: int) -> None:
        self.exit_code = 128 + signal
        super().__init__(message)
