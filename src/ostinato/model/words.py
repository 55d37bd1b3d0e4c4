"""A tokenizer of words, for models with random weights that have no tokenizer of their own."""

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def word_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of the most frequent words, ties by alphabet: the same texts give the same one."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(
            word
            for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
        )
    words = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = list(dict.fromkeys([*SPECIAL.values(), *words]))[:vocab_size]
    backend = Tokenizer(
        models.WordLevel(
            {word: i for i, word in enumerate(vocabulary)},
            unk_token=SPECIAL["unk_token"],
        )
    )
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    cls, sep = SPECIAL["cls_token"], SPECIAL["sep_token"]
    backend.post_processor = processors.BertProcessing(
        (sep, vocabulary.index(sep)), (cls, vocabulary.index(cls))
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL,
    )
