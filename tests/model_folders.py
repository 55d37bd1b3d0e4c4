"""Folders with random weights and a trained tokenizer, one per architecture."""

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from ostinato.model.padding import settle_pad_token

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
DISTILBERT = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2}
DEBERTA = SIZES | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
MODERNBERT = SIZES | {"local_attention": 8, "global_attn_every_n_layers": 2}
XLNET = {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 80}

DECODER = SIZES | {
    "num_key_value_heads": 1,
    "head_dim": 16,
    "attention_dropout": 0.1,
}
WINDOW = {
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
}

# The class of the tokenizer, and the sizes of the model.
ARCHITECTURES = {
    "bert": ("BertTokenizer", SIZES),
    "roberta": ("RobertaTokenizer", SIZES),
    "distilbert": ("DistilBertTokenizer", DISTILBERT),
    "electra": ("BertTokenizer", SIZES | {"embedding_size": 16}),
    "albert": ("AlbertTokenizer", SIZES | {"embedding_size": 16}),
    "mpnet": ("MPNetTokenizer", SIZES),
    "deberta-v2": ("DebertaV2Tokenizer", DEBERTA),
    "modernbert": ("RobertaTokenizer", MODERNBERT),
    "xlnet": ("XLNetTokenizer", XLNET),
    "bart": ("RobertaTokenizer", BART),
    "t5": ("T5Tokenizer", T5),
    "gpt2": ("GPT2Tokenizer", GPT2),
    "llama": ("GPT2Tokenizer", DECODER),
    "mistral": ("GPT2Tokenizer", DECODER | {"sliding_window": 8}),
    "qwen2": ("GPT2Tokenizer", DECODER),
    "qwen3": ("GPT2Tokenizer", DECODER),
    "gemma2": ("GPT2Tokenizer", DECODER | WINDOW),
    "gemma3_text": ("GPT2Tokenizer", DECODER | WINDOW),
    "smollm3": ("GPT2Tokenizer", DECODER),
    "gpt_oss": ("GPT2Tokenizer", DECODER | WINDOW),
    "phimoe": ("GPT2Tokenizer", DECODER),
    "eurobert": ("RobertaTokenizer", DECODER),
}
EAGER = ("mpnet", "deberta-v2", "xlnet", "t5", "gemma2", "gpt_oss")


def write_model(folder, name, **changes):
    """Writes random weights and a tokenizer of the architecture; returns the folder."""
    tokenizer_class, sizes = ARCHITECTURES[name]
    untrained = getattr(transformers, tokenizer_class)()
    tokenizer = untrained.train_new_from_iterator(TEXTS * 9, 300, show_progress=False)
    values = sizes | {"vocab_size": len(tokenizer)}
    for role in ("bos", "eos", "pad", "cls", "sep"):
        values[f"{role}_token_id"] = getattr(tokenizer, f"{role}_token_id")
    if name in ("bart", "t5"):
        values["decoder_start_token_id"] = values["eos_token_id"]
    config = AutoConfig.for_model(name, **values | changes)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(folder, name, **changes):
    """Writes a folder and loads its classifier and tokenizer with one pad token."""
    write_model(folder, name, **changes)
    config = AutoConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    settle_pad_token(config, tokenizer)
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(folder, config=config)
    return model.eval(), tokenizer


def overrides(folder, name):
    """Returns the overrides of a short training that starts from a folder."""
    attention = "eager" if name in EAGER else "sdpa"
    return [
        "model=minilm",
        f"model.name={folder}",
        f"model.attention={attention}",
        "model.max_length=48",
        "data.limit_train=24",
        "data.limit_val=12",
        "data.limit_test=8",
        "training.batch_size=8",
        "training.eval_every=3",
        "training.epochs=1",
        "training.lr=1e-3",
    ]


def together_and_alone(model, collator, rows):
    """Returns the logits of rows in one batch, and of each row alone."""
    alone = []
    with torch.no_grad():
        together = model(**collator.inputs(rows)).logits
        for number in range(len(together)):
            row = {name: [column[number]] for name, column in rows.items()}
            alone.append(model(**collator.inputs(row)).logits[0])
    return together, torch.stack(alone)
