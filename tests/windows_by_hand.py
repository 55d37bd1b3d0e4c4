"""Logits of rows with windows from transformers alone."""

import torch

from ostinato.config import WindowPooling


def logits_by_hand(model, tokenizer, rows, pooling, max_length, stride):
    """Reads the overflow of the tokenizer window by window, and pools in a loop."""
    logits = []
    for text in rows:
        encoded = tokenizer(
            [text],
            truncation=True,
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
        )
        windows = [
            model(input_ids=torch.tensor([ids])).logits[0]
            for ids in encoded["input_ids"]
        ]
        stacked = torch.stack(windows)
        if pooling is WindowPooling.mean:
            logits.append(stacked.sum(0) / len(windows))
        elif pooling is WindowPooling.max:
            logits.append(stacked.max(0).values)
        else:
            logits.append(windows[0])
    return torch.stack(logits)
