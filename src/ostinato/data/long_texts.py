"""Reads texts that are longer than the model's input: head and tail, or windows.

The tokenizer encodes each row as a whole. Then tokens of the texts are left out, and
the special tokens stay. The windows are those of the tokenizer's own overflow. For two
long texts, a tokenizer would combine each window of one with each window of the other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from tokenizers import Encoding
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from ostinato.config import DataConfig, LongText, WindowPooling
from ostinato.data.windows import WINDOW_LENGTHS
from ostinato.errors import ConfigError

_FIELD = "long_texts"  # of a model's config.json

Places = NDArray[np.int64]
"""Positions of tokens in an encoded row."""


@dataclass(config=ConfigDict(extra="forbid"), frozen=True, kw_only=True)
class LongTexts:
    """How long texts are read.

    Attributes:
        mode: truncate, head_tail or windows.
        stride: tokens that two windows of a text share.
        max_windows: windows of a row, from the first; None: all.
        pooling: how the logits of the windows become those of the row.
    """

    mode: LongText = LongText.truncate
    stride: int = 0
    max_windows: int | None = None
    pooling: WindowPooling = WindowPooling.mean

    @classmethod
    def of(cls, cfg: DataConfig) -> "LongTexts":
        """What a config says."""
        if cfg.long_text is not LongText.windows:
            return cls(mode=cfg.long_text)
        reads_first = cfg.window_pooling is WindowPooling.first
        return cls(
            mode=cfg.long_text,
            stride=cfg.stride,
            max_windows=1 if reads_first else cfg.max_windows,
            pooling=cfg.window_pooling,
        )

    @classmethod
    def of_model(cls, config: PreTrainedConfig) -> "LongTexts":
        """What a model was trained with.

        Raises:
            ConfigError: the model's config is damaged.
        """
        values = getattr(config, _FIELD, {})
        try:
            return _ADAPTER.validate_python(values)
        except ValidationError:
            problem = f"config.json of the model: {_FIELD}={values} is damaged"
            raise ConfigError([f"{problem}; restore the file"]) from None

    def write(self, config: PreTrainedConfig) -> None:
        """Writes the values to a model's config, which is saved with the weights."""
        config.__dict__.pop(_FIELD, None)  # of the model that is trained further
        if self.mode is not LongText.truncate:
            setattr(config, _FIELD, _ADAPTER.dump_python(self, mode="json"))

    def key(self) -> list[Any]:
        """What decides the tokens, for JSON; empty for truncate."""
        if self.mode is LongText.truncate:
            return []
        return [self.mode.value, self.stride, self.max_windows]

    def room(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int, is_pair: bool
    ) -> int:
        """Number of tokens of a row's texts in a model input.

        Raises:
            ConfigError: there is no room, or the stride fills it.
        """
        num_special: int = tokenizer.num_special_tokens_to_add(pair=is_pair)
        room = max_length - num_special
        if room < 1:
            problem = f"{num_special} special tokens leave no room for text"
            raise ConfigError([f"model.max_length={max_length}: {problem}; raise it"])
        smallest = room - room // 2 if is_pair else room
        if self.stride >= smallest:
            what = "of a pair's longer text" if is_pair else "of text"
            problem = f"a window can have only {smallest} tokens {what}"
            remedy = f"use at most {smallest - 1}, or raise model.max_length"
            raise ConfigError([f"data.stride={self.stride}: {problem}; {remedy}"])
        return room


_ADAPTER = TypeAdapter(LongTexts)


def encode_long(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[list[str]],
    max_length: int,
    how: LongTexts,
) -> tuple[dict[str, list[list[int]]], list[bool]]:
    """Encodes rows of texts of any length.

    Args:
        tokenizer: a fast tokenizer.
        texts: the texts, or the first and the second texts.
        max_length: tokens of a model input, special tokens included.
        how: head_tail or windows.

    Returns:
        `input_ids`, `token_type_ids` if the model takes them and, for windows,
        `window_lengths`: the tokens of each window, one window after another in the
        row. And whether each row lost text.

    Raises:
        ConfigError: see `LongTexts.room`.
    """
    room = how.room(tokenizer, max_length, is_pair=len(texts) == 2)
    from_end = tokenizer.truncation_side == "left"
    encoded = tokenizer(*texts, truncation=False, padding=False)
    columns: dict[str, list[list[int]]] = {"input_ids": []}
    if "token_type_ids" in tokenizer.model_input_names:
        columns["token_type_ids"] = []
    if how.mode is LongText.windows:
        columns[WINDOW_LENGTHS] = []
    lost = []
    for encoding in encoded.encodings or []:
        windows, is_cut = _inputs_of(encoding, len(texts), room, how, from_end)
        kept = np.concatenate(windows)
        columns["input_ids"].append(np.array(encoding.ids)[kept].tolist())
        if "token_type_ids" in columns:
            types = np.array(encoding.type_ids)
            columns["token_type_ids"].append(types[kept].tolist())
        if WINDOW_LENGTHS in columns:
            columns[WINDOW_LENGTHS].append([len(window) for window in windows])
        lost.append(is_cut)
    return columns, lost


def _inputs_of(
    encoding: Encoding, num_texts: int, room: int, how: LongTexts, from_end: bool
) -> tuple[list[Places], bool]:
    """Divides a row into model inputs.

    Args:
        encoding: the whole row.
        num_texts: 1, or 2 for a pair.
        room: tokens of the texts in an input.
        how: head_tail or windows.
        from_end: the tokenizer cuts texts at their beginning.

    Returns:
        The tokens of each input, and whether the row lost text.
    """
    owners = np.array([-1 if n is None else n for n in encoding.sequence_ids])
    texts = [np.flatnonzero(owners == number) for number in range(num_texts)]
    lengths = [len(text) for text in texts]
    if sum(lengths) <= room:
        return [np.arange(len(owners))], False
    special = np.flatnonzero(owners == -1)
    longer = 0 if lengths[0] > lengths[-1] else num_texts - 1
    sizes = _sizes(lengths, longer, room)
    if how.mode is LongText.head_tail:
        pieces = [_head_and_tail(*pair) for pair in zip(texts, sizes, strict=True)]
        return [np.sort(np.concatenate([special, *pieces]))], True
    windows = cut_windows(texts[longer], sizes[longer], how.stride, from_end)
    kept = windows[: how.max_windows]
    is_cut = len(kept) < len(windows)
    others = [special]
    for number in {0, num_texts - 1} - {longer}:  # the same text in all windows
        text, size = texts[number], sizes[number]
        others.append(text[len(text) - size :] if from_end else text[:size])
        is_cut = is_cut or size < len(text)
    return [np.sort(np.concatenate([*others, window])) for window in kept], is_cut


def _sizes(lengths: Sequence[int], longer: int, room: int) -> list[int]:
    """Tokens of each text in an input; the shorter text gets at most half of the room.

    The tokenizer's own truncation of pairs (`longest_first`) gives the same sizes.
    """
    sizes = [min(length, room // 2) for length in lengths]
    sizes[longer] = 0
    sizes[longer] = min(lengths[longer], room - sum(sizes))
    return sizes


def _head_and_tail(text: Places, size: int) -> Places:
    """The first quarter of the size from the head of a text, the rest from its tail.

    For BERT's 512 tokens, these are 128 and 382 (Sun et al., 2019).
    """
    if len(text) <= size:
        return text
    head = -(-size // 4)
    return np.concatenate([text[:head], text[len(text) - size + head :]])


def cut_windows(
    text: Places, size: int, stride: int, from_end: bool = False
) -> list[Places]:
    """Cuts a text into windows, as tokenizers cut their overflow.

    Args:
        text: tokens of the text.
        size: tokens of a window; the last one can be shorter.
        stride: tokens that a window shares with the one before.
        from_end: the first window is the end of the text.
    """
    num_tokens = len(text)
    windows = []
    start = 0
    while True:
        end = min(start + size, num_tokens)
        if from_end:
            windows.append(text[num_tokens - end : num_tokens - start])
        else:
            windows.append(text[start:end])
        if end == num_tokens:
            return windows
        start += size - stride
