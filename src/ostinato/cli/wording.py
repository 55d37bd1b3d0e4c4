"""Rewrites the errors of Hydra and OmegaConf in a user's words."""

import difflib
import re


def explain(error: BaseException) -> str:
    """The reason for an error of Hydra or OmegaConf, in a user's words."""
    text = full_text(error)
    if "could not be converted to Float" in text:
        return "must be a number"
    if "could not be converted to Integer" in text:
        return "must be a whole number"
    if "is not a valid bool" in text:
        return "must be true or false"

    variable = re.search(r"Environment variable '.*' not found", text)
    if variable:
        return variable[0]

    choice = re.search(r"Invalid value '(.*)', expected one of \[(.*)\]", text)
    if choice:
        word, choices = choice.groups()
        return f"must be one of {choices}{did_you_mean(word, choices.split(', '))}"
    return first_line(error.__cause__ or error)


def full_text(error: BaseException) -> str:
    """The message of an error and of its cause."""
    return f"{error} {error.__cause__ or ''}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class when it has no message."""
    message = str(error).strip()
    if not message:
        return type(error).__name__
    return message.splitlines()[0]


def did_you_mean(word: str, candidates: list[str]) -> str:
    """Suggests the candidate that is most similar to a word.

    Returns:
        "; did you mean CANDIDATE?", or an empty text when no candidate is similar.
    """
    similar = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    if not similar:
        similar = _with_same_last_part(word, candidates)
    if not similar:
        return ""
    return f"; did you mean {similar[0]}?"


def _with_same_last_part(word: str, candidates: list[str]) -> list[str]:
    """The candidates that end like the word: `training.lr` for `lr`."""
    last = word.rsplit(".", 1)[-1]
    return [
        candidate for candidate in candidates if candidate.rsplit(".", 1)[-1] == last
    ]
