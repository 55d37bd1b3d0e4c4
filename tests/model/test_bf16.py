"""bf16 in hardware gives the same bits in every process and after other allocations.

Emulated bf16 is skipped.
"""

import os
import subprocess
import sys

import pytest
import torch

from ostinato.config import Device, Precision
from ostinato.model.device import choose

LOGITS = """
import hashlib, sys, torch
from transformers import AutoConfig, AutoModelForSequenceClassification
from ostinato.seeding import set_determinism
from ostinato.config import Determinism

torch.set_num_threads(2)
set_determinism(Determinism.strict)
torch.manual_seed(0)
sizes = dict(
    hidden_size=384,
    intermediate_size=1536,
    num_hidden_layers=6,
    num_attention_heads=12,
    num_labels=8,
)
config = AutoConfig.for_model("bert", vocab_size=3000, **sizes)
model = AutoModelForSequenceClassification.from_config(config).eval()
ids = torch.randint(5, 3000, (64, 32))
inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
for turn in range(8):
    other = [torch.empty(1000 * (turn + 7 * n)) for n in range(int(sys.argv[1]))]
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(**inputs).logits.float()
    print(hashlib.sha256(logits.numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.skipif(
    choose(Device.cpu, Precision.auto).precision is Precision.fp32,
    reason="this CPU emulates bf16",
)
def test_bf16_products_give_the_same_bits_in_every_process():
    digests = []
    for num_other_tensors in (0, 3, 5):
        done = subprocess.run(
            [sys.executable, "-c", LOGITS, str(num_other_tensors)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        digests += done.stdout.split()
    assert len(digests) == 24
    num_results = len(set(digests))
    if num_results > 1:
        # Seen once in the metrics of one evaluation; see "Metrics" in
        # docs/reproducibility.md.
        cpu = torch.cpu.get_capabilities()["cpu_name"]
        pytest.xfail(f"bf16 gave {num_results} results in 24 turns on {cpu}")
