"""The pad token: settled once, in tokenizer and config alike; and the rows that a classifier cannot pool.

Some classifiers find a text's last token by `config.pad_token_id`, others by the number of end tokens. They read the
config and the ids, not the tokenizer and the attention mask.
"""

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ostinato.errors import ConfigError, DataError

# Their position ids start after the pad token's id, so the id is a part of the pretrained weights.
POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert")
_FIXED_BY_WEIGHTS = (
    *POSITIONS_AFTER_PADDING,
    "mpnet",
    "xlm-roberta-xl",
    "roberta-prelayernorm",
    "longformer",
    "esm",
)


def settle_pad_token(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Writes one pad token to the config and the tokenizer; call it before the model is built.

    The tokenizer's pad token counts. Without one, the config's counts if it is a special token, then the end token.

    Args:
        config: of the model; changed in place.
        tokenizer: changed in place; no text gets other ids than before.

    Raises:
        ConfigError: no token can serve, or the model has no embedding or other positions for it.
    """
    name = tokenizer.name_or_path or config.model_type
    text_config = config.get_text_config()
    theirs = text_config.pad_token_id
    special = {
        number: token.content
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special
    }
    if tokenizer.pad_token_id is None:
        token = special.get(theirs, tokenizer.eos_token)
        if token is None:
            raise ConfigError(
                [
                    f"model.name={name}: the tokenizer has no pad token and no end token; save it with a pad_token"
                ]
            )
        tokenizer.pad_token = token
    own = tokenizer.pad_token_id
    if own != theirs and config.model_type in _FIXED_BY_WEIGHTS:
        if theirs not in special:
            raise ConfigError(
                [
                    f"model.name={name}: the tokenizer pads with id {own}, the model's positions start after its pad "
                    f"token {theirs}; save a tokenizer whose pad token has id {theirs}"
                ]
            )
        tokenizer.pad_token = special[theirs]
        own = theirs
    size = getattr(text_config, "vocab_size", None)
    if size is not None and own >= size:
        raise ConfigError(
            [
                f"model.name={name}: the pad token {tokenizer.pad_token!r} has id {own}, the model has {size} "
                "embeddings; choose a pad token with an embedding, or save the model with resized embeddings"
            ]
        )
    config.pad_token_id = text_config.pad_token_id = own


def check_rows(
    model: PreTrainedModel,
    input_ids: NDArray[np.integer],
    lengths: NDArray[np.integer],
    name: str,
) -> None:
    """Refuses rows that the classifier cannot pool: none of its own tokens is where it looks.

    Args:
        model: the classifier.
        input_ids: tokens of all rows, one row after another, [num_tokens].
        lengths: tokens of each row, [num_rows].
        name: what the rows are called in the message.

    Raises:
        DataError: names the first such row, counted from 0.
    """
    if not lengths.all():
        raise DataError(
            f"{name}: row {int(np.argmin(lengths))} has no tokens; remove empty texts"
        )
    config = model.config.get_text_config()
    ends = np.cumsum(lengths, dtype=np.int64)
    if (
        model.config.is_encoder_decoder
    ):  # these pool the last end token and want as many of them in each row
        counts = np.add.reduceat(
            (input_ids == config.eos_token_id).astype(np.int64), ends - lengths
        )
        wrong = counts != max(1, counts[0])
        problem = f"has not the same number of end tokens (id {config.eos_token_id}) as the others, or none"
        remedy = "remove the end token from the texts, or take a tokenizer that adds it"
    elif hasattr(model, "score"):  # these pool the last token that is not the pad token
        wrong = input_ids[ends - 1] == config.pad_token_id
        problem = f"ends with the pad token (id {config.pad_token_id}), which the model does not read"
        remedy = (
            "remove it from the texts, or save the tokenizer with another pad_token"
        )
    else:
        return
    if wrong.any():
        raise DataError(f"{name}: row {int(np.argmax(wrong))} {problem}; {remedy}")
