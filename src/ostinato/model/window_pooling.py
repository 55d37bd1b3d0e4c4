"""Logits of rows that consist of windows.

The sum over the windows of a row does not depend on the other rows of the batch.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ostinato.config import WindowPooling
from ostinato.data.collate import Inputs
from ostinato.data.long_texts import LongTexts
from ostinato.data.windows import Windows


def row_logits(model: nn.Module, inputs: Inputs) -> Tensor:
    """Runs a classifier, and pools the windows of each row as its config says.

    Args:
        model: the classifier.
        inputs: what a collator made.

    Returns:
        Logits [num_rows, num_labels]; of windows in fp32.
    """
    windows = inputs.get("windows")
    if not isinstance(windows, Windows):
        logits: Tensor = model(**inputs).logits
        return logits
    texts = {name: value for name, value in inputs.items() if name != "windows"}
    pooling = LongTexts.of_model(model.config).pooling
    return pool(model(**texts).logits, windows, pooling)


def pool_array(
    logits: NDArray[np.float32], inputs: Inputs, pooling: WindowPooling
) -> NDArray[np.float32]:
    """Pools logits that another library computed; see `row_logits`."""
    windows = inputs.get("windows")
    if not isinstance(windows, Windows):
        return logits
    pooled: NDArray[np.float32] = pool(
        torch.from_numpy(logits), windows, pooling
    ).numpy()
    return pooled


def pool(logits: Tensor, windows: Windows, pooling: WindowPooling) -> Tensor:
    """Pools the logits of windows [num_windows, num_labels] by row, in fp32."""
    rows = torch.split(logits.float(), list(windows.counts))
    if pooling is WindowPooling.mean:
        return torch.stack([row.mean(0) for row in rows])
    if pooling is WindowPooling.max:
        return torch.stack([row.amax(0) for row in rows])
    return torch.stack([row[0] for row in rows])
