"""The errors that a user can fix.

Commands print one line per problem, without a traceback, and exit with code 2.
"""


class UserError(ValueError):
    """A mistake that the user can fix.

    The message names the key or file, the value and the remedy.

    Attributes:
        exit_code: of the command.
    """

    exit_code = 2


class ConfigError(UserError):
    """One or more wrong values on the command line or in a config file.

    Attributes:
        problems: one line per problem.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class DataError(UserError):
    """Data that the model cannot be trained on or cannot label.

    The message names the file, the row and the remedy.
    """


class AssetError(UserError):
    """A model or dataset that could not be downloaded, verified or unpacked."""


class TrainingDiverged(UserError):
    """A loss or gradient that is NaN or infinite.

    The message names the step and the learning rate.
    """


class DeterminismError(UserError):
    """An operation without a deterministic implementation.

    Raised under `training.determinism=strict`; the message names the operation.
    """


class CheckpointError(UserError):
    """A checkpoint could not be written, or a file changed while the run trained."""


class StorageError(UserError):
    """A file that could not be written: the disk is full, or access is denied."""


class ResumeRefused(ConfigError):
    """A run that cannot resume as it started. Nothing in its folder has changed."""


class ProcessFailed(UserError):
    """One of several processes of a training ended, or does not answer.

    Attributes:
        exit_code: 2 for a mistake that the user can fix, otherwise 1.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class ProcessLost(Exception):
    """Another process of a training does not answer; the reason is not known here.

    Attributes:
        rank: which process; None if this is not known.
    """

    def __init__(self, message: str, rank: int | None = None) -> None:
        self.rank = rank
        super().__init__(message)


class Interrupted(Exception):
    """A training that a signal stopped after a step, with a checkpoint written.

    Attributes:
        exit_code: 128 plus the number of the signal, as in shells.
    """

    def __init__(self, message: str, signal: int) -> None:
        self.exit_code = 128 + signal
        super().__init__(message)
