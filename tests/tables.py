"""Tables with the generated texts, and columns that generated data does not have."""

from pathlib import Path

from files import write

from ostinato.config import Task
from ostinato.data.generated import generate


def generated_rows(split: str, task: str = "single_label", limit: int = 60) -> list:
    """The first rows of a generated split."""
    rows = []
    for row in generate(split, Task(task), with_pair=False).rows:
        if len(rows) == limit:
            break
        rows.append({"text": row.text, "label": row.label})
    return rows


def weighted_table(folder: Path, task: str = "single_label") -> list[str]:
    """Writes train with a weight in each row and val without; some weights are 0.

    Returns:
        The overrides that read them.
    """
    train = generated_rows("train", task)
    for number, row in enumerate(train):
        row["weight"] = number % 5 / 2
    folder.mkdir(parents=True, exist_ok=True)
    return [
        "data=files",
        f"data.task={task}",
        f"data.train_path={write(folder, 'train.jsonl', train)}",
        f"data.val_path={write(folder, 'val.jsonl', generated_rows('val', task, 30))}",
        "data.weight_column=weight",
    ]


def soft_table(folder: Path) -> list[str]:
    """Writes train, val and test with a probability per label in each row.

    Returns:
        The overrides that read them.
    """
    topics = ("cooking", "sport", "weather")
    options = ["data=files"]
    folder.mkdir(parents=True, exist_ok=True)
    for split, limit in {"train": 60, "val": 30, "test": 30}.items():
        rows = generated_rows(split, limit=limit)
        for number, row in enumerate(rows):
            label = row.pop("label")
            sure = (0.4, 0.7, 1.0)[number % 3]
            for topic in topics:
                row[f"p_{topic}"] = sure if topic == label else (1 - sure) / 2
        options.append(f"data.{split}_path={write(folder, f'{split}.jsonl', rows)}")
    columns = ",".join(f"{topic}:p_{topic}" for topic in topics)
    return [*options, f"data.label_distribution={{{columns}}}"]
