"""Tiny configs of the architectures that people fine-tune."""

from transformers import (
    AutoConfig,
    BertConfig,
    BertForSequenceClassification,
)

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
}
FAMILIES = {
    "bert": SIZES,
    "roberta": SIZES | {"pad_token_id": 1},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 3, "n_heads": 2},
    "electra": SIZES | {"embedding_size": 16},
    "albert": SIZES | {"embedding_size": 16},
    "mpnet": SIZES,
    "deberta-v2": SIZES
    | {
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    },
    "modernbert": SIZES,
    "xlnet": {"d_model": 32, "d_inner": 64, "n_layer": 3, "n_head": 2},
    "bart": {
        "d_model": 32,
        "encoder_layers": 3,
        "decoder_layers": 3,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
    },
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 3, "num_heads": 2},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 2},
    "llama": SIZES | {"num_key_value_heads": 2},
    "qwen2": SIZES | {"num_key_value_heads": 2},
    "qwen3": SIZES | {"num_key_value_heads": 2, "head_dim": 16},
    "funnel": {
        "d_model": 32,
        "d_head": 16,
        "d_inner": 64,
        "n_head": 2,
        "block_sizes": [2, 2, 2],
    },
}


def family(name, **changes):
    """Returns the config of a tiny classifier with a vocabulary of 60 tokens."""
    tokens = dict.fromkeys(
        ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 2
    )
    values = {
        "vocab_size": 60,
        "num_labels": 3,
        "pad_token_id": 0,
        **tokens,
        **FAMILIES[name],
        **changes,
    }
    return AutoConfig.for_model(name, **values)


def tiny_bert(**changes):
    """A BERT that computes a step in milliseconds, in training mode."""
    sizes = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "num_labels": 3,
    }
    return BertForSequenceClassification(BertConfig(**sizes | changes)).train()
