"""The pad token, set once in tokenizer and config, and rows without a token to pool.

Some classifiers find the last token of a text by `config.pad_token_id`, others by the
number of end tokens. They read the config and the token ids, but neither the
tokenizer nor the attention mask.
"""

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ostinato.data.collate import TokenLists
from ostinato.data.windows import split_windows
from ostinato.errors import ConfigError, DataError
from ostinato.model.architecture import is_causal
from ostinato.model.families import POSITIONS_AFTER_PAD_TOKEN


def settle_pad_token(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Writes the same pad token to the config and the tokenizer.

    Call it before the model is built. The tokenizer's pad token has priority. If there
    is none, the config's pad token is used if it is a special token, and otherwise the
    end token.

    Args:
        config: of the model; changed in place.
        tokenizer: changed in place; the token ids of texts stay the same.

    Raises:
        ConfigError: no token can be the pad token, or the model has no embedding or
            other positions for it.
    """
    name = f"model.name={tokenizer.name_or_path or config.model_type}"
    text_config = config.get_text_config()
    config_id = text_config.pad_token_id
    special_tokens = _special_tokens(tokenizer)

    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = special_tokens.get(config_id, tokenizer.eos_token)
    if tokenizer.pad_token_id is None:
        problem = f"{name}: the tokenizer has no pad token and no end token"
        raise ConfigError([f"{problem}; save it with a pad_token"])

    fixed_by_weights = config.model_type in POSITIONS_AFTER_PAD_TOKEN
    if fixed_by_weights and tokenizer.pad_token_id != config_id:
        if config_id not in special_tokens:
            problem = (
                f"{name}: the tokenizer pads with id {tokenizer.pad_token_id}, but the "
                f"model's positions start after its pad token {config_id}"
            )
            remedy = f"save a tokenizer whose pad token has id {config_id}"
            raise ConfigError([f"{problem}; {remedy}"])
        tokenizer.pad_token = special_tokens[config_id]

    _check_embedding(name, text_config, tokenizer)
    text_config.pad_token_id = tokenizer.pad_token_id
    config.pad_token_id = tokenizer.pad_token_id


def _check_embedding(
    name: str, text_config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuses a pad token without an embedding.

    Args:
        name: key and value of the model, for the error.
        text_config: config of the text model.
        tokenizer: has the pad token.
    """
    num_embeddings = getattr(text_config, "vocab_size", None)
    if num_embeddings is None or tokenizer.pad_token_id < num_embeddings:
        return
    problem = (
        f"{name}: the pad token {tokenizer.pad_token!r} has id "
        f"{tokenizer.pad_token_id}, but the model has only {num_embeddings} embeddings"
    )
    remedy = (
        "choose a pad token with an embedding, "
        "or save the model with resized embeddings"
    )
    raise ConfigError([f"{problem}; {remedy}"])


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Returns the special tokens of a tokenizer by id."""
    special_tokens = {}
    for token_id, token in tokenizer.added_tokens_decoder.items():
        if token.special:
            special_tokens[token_id] = token.content
    return special_tokens


def check_batch(model: PreTrainedModel, rows: TokenLists) -> None:
    """Refuses a batch with a row without a token that the classifier can pool.

    Args:
        model: the classifier.
        rows: for each column (`input_ids`, ...) one list of integers per row.

    Raises:
        DataError: names the first wrong row, counted from 0.
    """
    inputs, windows = split_windows(rows)
    lengths = np.array([len(ids) for ids in inputs["input_ids"]])
    token_ids = np.concatenate(inputs["input_ids"])
    counts = None if windows is None else np.array(windows.counts)
    check_rows(model, token_ids, lengths, "texts of one batch", counts)


def check_rows(
    model: PreTrainedModel,
    input_ids: NDArray[np.integer],
    lengths: NDArray[np.integer],
    name: str,
    windows: NDArray[np.integer] | None = None,
) -> None:
    """Refuses rows without a token that the classifier can pool.

    Args:
        model: the classifier.
        input_ids: tokens of all rows, one row after another, [num_tokens].
        lengths: tokens of each row, [num_rows], or of each window.
        name: name of the rows in the message.
        windows: windows of each row, [num_rows]; None if rows have no windows.

    Raises:
        DataError: names the first wrong row, counted from 0.
    """
    if not lengths.all():
        row = _row_of(int(np.argmin(lengths)), windows)
        raise DataError(f"{name}: row {row} has no tokens; remove empty texts")
    config = model.config.get_text_config()
    if model.config.is_encoder_decoder:
        wrong = _other_number_of_ends(input_ids, lengths, config.eos_token_id)
        problem = (
            f"does not have the same number of end tokens (id {config.eos_token_id}) "
            "as the other rows, or has none"
        )
        remedy = "remove the end token from the texts, or use a tokenizer that adds it"
    elif hasattr(model, "score") or is_causal(model):
        # These classifiers pool the last token that is not the pad token.
        last_tokens = input_ids[np.cumsum(lengths, dtype=np.int64) - 1]
        wrong = last_tokens == config.pad_token_id
        problem = (
            f"ends with the pad token (id {config.pad_token_id}), "
            "which the model does not read"
        )
        remedy = (
            "remove it from the texts, or save the tokenizer with another pad_token"
        )
    else:
        return
    if wrong.any():
        row = _row_of(int(np.argmax(wrong)), windows)
        raise DataError(f"{name}: row {row} {problem}; {remedy}")


def _row_of(number: int, windows: NDArray[np.integer] | None) -> int:
    """The row of a model input."""
    if windows is None:
        return number
    return int(np.searchsorted(np.cumsum(windows), number, side="right"))


def _other_number_of_ends(
    input_ids: NDArray[np.integer], lengths: NDArray[np.integer], end_id: int
) -> NDArray[np.bool_]:
    """Marks the rows with another number of end tokens than the first row, or none.

    Encoder-decoder classifiers pool the last end token. They require the same number
    of end tokens in each row of a batch.
    """
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    is_end = (input_ids == end_id).astype(np.int64)
    counts = np.add.reduceat(is_end, starts)
    expected = max(1, counts[0])
    wrong: NDArray[np.bool_] = counts != expected
    return wrong
