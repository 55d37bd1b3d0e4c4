"""Every architecture trains, resumes to the same bits and gives a text the same logits alone and in a batch."""

import numpy as np
import pytest
import torch
import transformers
from runs import fingerprint, train_in
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from ostinato import TextClassifier
from ostinato.cli.command import load_run
from ostinato.config import EvaluateConfig
from ostinato.run.evaluate import evaluate

TEXTS = [
    "it will rain tomorrow and the wind turns to the north",
    "they scored a goal in the second half",
]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
}
DECODER = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
ARCHITECTURES = {
    "bert": ("BertTokenizer", SIZES),
    "roberta": ("RobertaTokenizer", SIZES),
    "distilbert": (
        "DistilBertTokenizer",
        {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    ),
    "electra": ("BertTokenizer", SIZES | {"embedding_size": 16}),
    "albert": ("AlbertTokenizer", SIZES | {"embedding_size": 16}),
    "mpnet": ("MPNetTokenizer", SIZES),
    "deberta-v2": (
        "DebertaV2Tokenizer",
        SIZES | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    ),
    "modernbert": (
        "ModernBERT",
        SIZES | {"local_attention": 8, "global_attn_every_n_layers": 2},
    ),
    "xlnet": (
        "XLNetTokenizer",
        {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    ),
    "bart": (
        "RobertaTokenizer",
        DECODER | {"encoder_attention_heads": 2, "decoder_attention_heads": 2},
    ),
    "t5": (
        "T5Tokenizer",
        {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
    ),
    "gpt2": (
        "GPT2Tokenizer",
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 80},
    ),
}
EAGER = ("mpnet", "deberta-v2", "xlnet", "t5")


def write_model(folder, name, **changes):
    """Writes random weights and a tokenizer of the architecture's kind, and returns the folder."""
    kind, sizes = ARCHITECTURES[name]
    kind = "RobertaTokenizer" if kind == "ModernBERT" else kind
    tokenizer = getattr(transformers, kind)().train_new_from_iterator(
        TEXTS * 9, 300, show_progress=False
    )
    ids = {
        f"{role}_token_id": getattr(tokenizer, f"{role}_token_id")
        for role in ("bos", "eos", "pad", "cls", "sep")
    }
    ids |= (
        {"decoder_start_token_id": ids["eos_token_id"]}
        if name in ("bart", "t5")
        else {}
    )
    config = AutoConfig.for_model(
        name, **sizes | {"vocab_size": len(tokenizer)} | ids | changes
    )
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def overrides(folder, name):
    attention = "eager" if name in EAGER else "sdpa"
    return ["model=minilm", f"model.name={folder}", f"model.attention={attention}", "model.max_length=48",
            "data.limit_train=24", "data.limit_val=12", "data.limit_test=8", "training.batch_size=8",
            "training.eval_every=3", "training.epochs=1", "training.lr=1e-3"]  # fmt: skip


HEAVY = (
    "bert",
    "distilbert",
    "electra",
    "albert",
    "modernbert",
)  # what they take part in is shown by others as well


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.proof if name in HEAVY else ())
        for name in ARCHITECTURES
    ],
)
def test_an_architecture_trains_and_resumes_to_the_same_bits_and_ignores_its_neighbours(
    name, tmp_path
):
    options = overrides(write_model(tmp_path / "model", name), name)
    whole = train_in(tmp_path / "whole", *options)
    parts = train_in(tmp_path / "parts", *options, until_step=2)
    train_in(parts.path, *options, f"resume.run={parts.path}")
    assert fingerprint(parts) == fingerprint(whole)

    classifier = TextClassifier.load(whole.path)
    texts = ["rain", "a goal in the second half", *TEXTS]
    encoded = classifier.encode([(text, None) for text in texts])
    together = classifier.forward(encoded)
    alone = [
        classifier.forward({n: [column[i]] for n, column in encoded.items()})[0]
        for i in range(len(texts))
    ]
    assert np.abs(together - np.stack(alone)).max() <= 1e-5 * np.abs(together).max()

    plain = AutoModelForSequenceClassification.from_pretrained(whole.best).eval()
    tokenizer = AutoTokenizer.from_pretrained(whole.best)
    with torch.no_grad():
        expected = plain(
            **tokenizer(texts, padding=True, return_tensors="pt")
        ).logits.numpy()
    assert np.abs(together - expected).max() <= 1e-5 * np.abs(expected).max()

    losses = [evaluate(EvaluateConfig(run=str(whole.path), batch_size=size), *load_run(str(whole.path)))["loss"]
              for size in (1, 64)]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
