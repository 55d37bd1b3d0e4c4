"""A tokenizer of words, for models with random weights and no tokenizer files."""

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
    """Makes a tokenizer of the most frequent words; the same texts give the same one.

    Args:
        texts: the texts to count words in.
        vocab_size: largest number of tokens, special tokens included.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        words = splitter.pre_tokenize_str(normalizer.normalize_str(text))
        counts.update(word for word, _ in words)

    vocabulary = _vocabulary(counts)[:vocab_size]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    model = models.WordLevel(numbers, unk_token=SPECIAL["unk_token"])
    backend = Tokenizer(model)
    backend.normalizer = normalizer
    backend.pre_tokenizer = splitter
    first = SPECIAL["cls_token"]
    last = SPECIAL["sep_token"]
    backend.post_processor = processors.BertProcessing(
        (last, numbers[last]), (first, numbers[first])
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL,
    )


def _vocabulary(counts: Counter[str]) -> list[str]:
    """Lists special tokens, then words by frequency; equal counts are alphabetical."""
    words = sorted(counts, key=lambda word: (-counts[word], word))
    unique = dict.fromkeys([*SPECIAL.values(), *words])
    return list(unique)
