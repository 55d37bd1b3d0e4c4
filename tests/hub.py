"""A local server that replaces the Hugging Face Hub and serves tiny repositories."""

import hashlib
import http.server
import io
import json
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import datasets
import sentencepiece
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AlbertTokenizer,
    AutoConfig,
    AutoModel,
    BertTokenizer,
    GPT2Tokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

COMMIT = "c0" * 20
TEXTS = [
    "it will rain tomorrow and the wind turns to the north",
    "they scored a goal in the second half",
]
SIZES = {
    "vocab_size": 400,
    "max_position_embeddings": 66,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_size": 64,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 64,  # the last four are names of DistilBERT
}


def write_model(folder: Path, architecture: dict) -> None:
    """Writes a tiny model with random weights and a tokenizer, in the real layout."""
    folder.mkdir(parents=True)
    special = TOKENIZERS[architecture["model_type"]](folder)
    known = AutoConfig.for_model(architecture["model_type"]).to_dict()
    config = AutoConfig.for_model(
        **architecture | {k: v for k, v in SIZES.items() if k in known} | special
    )
    model = AutoModel.from_config(config)
    # DeBERTa was published in half precision and before safetensors.
    if architecture["model_type"] == "deberta-v2":
        config.save_pretrained(folder)
        torch.save(model.half().state_dict(), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder)


def _bert(folder: Path) -> dict[str, int]:
    BertTokenizer().train_new_from_iterator(
        TEXTS, 300, show_progress=False
    ).save_pretrained(folder)
    _configure(folder, do_lower_case=True, model_max_length=512)
    return {"pad_token_id": 0}


def _byte_pairs(special: list[str]) -> tuple[dict[str, int], list[tuple[str, ...]]]:
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        TEXTS * 9, 300, special_tokens=special, show_progress=False
    )
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _roberta(folder: Path) -> dict[str, int]:
    vocab, merges = _byte_pairs(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    RobertaTokenizer(vocab=vocab, merges=merges).save_pretrained(folder)
    _configure(folder, model_max_length=512)
    return {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


def _modernbert(folder: Path) -> dict[str, int]:
    names = {
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
    }
    vocab, merges = _byte_pairs(list(names.values()))
    backend = RobertaTokenizer(vocab=vocab, merges=merges, **names)._tokenizer
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "attention_mask"],
        **names,
    ).save_pretrained(folder)
    ids = {"bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
    return {**ids, "pad_token_id": 3}


def _train_pieces(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    trained = tokenizer.train_new_from_iterator(TEXTS * 9, 300, show_progress=False)
    trained.save_pretrained(folder)
    _configure(folder, model_max_length=512)


def _xlm_roberta(folder: Path) -> dict[str, int]:
    _train_pieces(XLMRobertaTokenizer(), folder)
    return {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


def _decoder(folder: Path) -> dict[str, int]:
    """A tokenizer without a pad token, which adds no token to a text."""
    end = "<|endoftext|>"
    vocab, merges = _byte_pairs([end])
    GPT2Tokenizer(vocab=vocab, merges=merges, unk_token=end).save_pretrained(folder)
    return {"bos_token_id": 0, "eos_token_id": 0}


def _albert(folder: Path) -> dict[str, int]:
    _train_pieces(AlbertTokenizer(), folder)
    return {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


def _deberta(folder: Path) -> dict[str, int]:
    pieces = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    numbers = {f"{role}_id": number for number, role in enumerate(pieces)}
    names = {f"{role}_piece": piece for role, piece in pieces.items()}
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 9), model_writer=model, vocab_size=60, hard_vocab_limit=False, minloglevel=2,
        num_threads=1, **numbers, **names,
    )  # fmt: skip
    (folder / "spm.model").write_bytes(model.getvalue())
    _configure(folder, do_lower_case=False, vocab_type="spm")
    return {"pad_token_id": 0}


def _configure(folder: Path, **values) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


TOKENIZERS = {
    "bert": _bert,
    "distilbert": _bert,
    "electra": _bert,
    "roberta": _roberta,
    "modernbert": _modernbert,
    "deberta-v2": _deberta,
    "xlm-roberta": _xlm_roberta,
    "camembert": _xlm_roberta,
    "albert": _albert,
    "llama": _decoder,
    "qwen3": _decoder,
}


def write_sentiment(folder: Path) -> None:
    """Writes a data set in the layout of SST-2; the test labels are hidden."""
    features = datasets.Features(
        idx=datasets.Value("int32"),
        sentence=datasets.Value("string"),
        label=datasets.ClassLabel(names=["negative", "positive"]),
    )
    (folder / "data").mkdir(parents=True)
    for split, num_rows in {"train": 40, "validation": 12, "test": 8}.items():
        numbers = range(num_rows)
        sentences = [
            f"a {'fine' if n % 2 else 'dull'} film of {split} {n}" for n in numbers
        ]
        labels = [-1 if split == "test" else n % 2 for n in numbers]
        table = datasets.Dataset.from_dict(
            {"idx": list(numbers), "sentence": sentences, "label": labels}, features
        )
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


API = re.compile(
    r"api/(?:models|(datasets))/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/(\w+)(?:/(.+))?)?"
)
FILE = re.compile(r"(?:(datasets)/)?([^/]+/[^/]+)/resolve/(\w+)/(.+)")


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves files by name and revision, and lists of files."""

    root: Path
    requests: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        path = self.path.split("?")[0].strip("/")
        self.requests.append(f"{self.command} {path}")
        api = API.fullmatch(path)
        file = FILE.fullmatch(path)
        match = api or file
        if match is None:
            return self.refuse("RepoNotFound")
        folder = self.root / (match[1] or "models") / match[2]
        if not folder.is_dir():
            return self.refuse("RepoNotFound")
        revision = match[4] if api else match[3]
        if revision not in (None, "main", COMMIT):
            return self.refuse("RevisionNotFound")
        if file:
            return self.answer_file(folder / file[4])
        return self.answer_api(folder, api, body)

    def answer_file(self, file: Path) -> None:
        if file.is_file():
            self.send(file.read_bytes())
        else:
            self.refuse("EntryNotFound")

    def answer_api(self, folder: Path, match: re.Match[str], body: bytes) -> None:
        _, name, kind, _, subfolder = match.groups()
        files = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                files[path.relative_to(folder).as_posix()] = path
        if kind not in ("tree", "paths-info"):
            siblings = [{"rfilename": file} for file in files]
            return self.reply({"id": name, "sha": COMMIT, "siblings": siblings})
        entries = {file: self.entry(file, path) for file, path in files.items()}
        for parent in parents(files):
            entries[parent] = {"type": "directory", "path": parent, "oid": "0" * 40}
        if kind == "paths-info":
            wanted = json.loads(body)["paths"]
            return self.reply([entries[path] for path in entries if path in wanted])
        inside = []
        for path, entry in entries.items():
            if path.rpartition("/")[0] == (subfolder or ""):
                inside.append(entry)
        if not inside:
            return self.refuse("EntryNotFound")
        return self.reply(inside)

    def entry(self, name: str, file: Path) -> dict:
        oid = hashlib.sha1(file.read_bytes()).hexdigest()
        return {"type": "file", "path": name, "size": file.stat().st_size, "oid": oid}

    def reply(self, value) -> None:
        self.send(json.dumps(value).encode())

    def send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments) -> None:
        """Requests are not logged."""


def parents(files: Iterable[str]) -> set[str]:
    """The folders of files, without the root."""
    return {name.rpartition("/")[0] for name in files} - {""}


@contextmanager
def serving(root: Path) -> Iterator[dict[str, str]]:
    """Serves `root/models` and `root/datasets`; yields the variables to set."""
    Hub.root = root
    Hub.requests.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "no_proxy": "*",
    }
    server.shutdown()
    server.server_close()
