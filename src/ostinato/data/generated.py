"""Made-up text for trials: three classes that a tiny model learns in seconds. A function of this file alone."""

from collections.abc import Iterator

from ostinato.config import Task
from ostinato.data.columns import Row
from ostinato.data.files import RowSource
from ostinato.seeding import derive_seed

_NUM_ROWS = {"train": 300, "val": 60, "test": 90}
_TOPICS = {
    "cooking": (
        "the soup",
        "a cook",
        "this oven",
        "fresh bread",
        "the recipe",
        "simmers",
        "tastes salty",
        "needs butter",
    ),
    "sport": (
        "the goalkeeper",
        "a striker",
        "this team",
        "the referee",
        "our coach",
        "scores twice",
        "loses",
        "trains hard",
    ),
    "weather": (
        "the storm",
        "a cold front",
        "this morning fog",
        "heavy rain",
        "the wind",
        "clears up",
        "returns",
        "turns to snow",
    ),
}
_TIMES = (
    "on monday",
    "at noon",
    "tonight",
    "again",
    "as expected",
    "after all",
    "this week",
    "once more",
)


def generate(split: str, task: Task, with_pair: bool) -> RowSource:
    """Rows of a split: texts of two sentences, each about a topic, and no text twice.

    Labels by task: single_label: the one topic; multi_label: the one or two topics; regression: share of "weather".
    """
    return RowSource(f"generated[{split}]", _rows(split, task, with_pair))


def _rows(split: str, task: Task, with_pair: bool) -> Iterator[Row]:
    topics = list(_TOPICS)
    for number in range(_NUM_ROWS[split]):
        first = topics[number % len(topics)]
        second = (
            first
            if task is Task.single_label
            else topics[_pick(split, number, 0, len(topics))]
        )
        opening, closing = (
            _sentence(split, number, 1, first),
            _sentence(split, number, 5, second),
        )
        text, pair = (opening, closing) if with_pair else (f"{opening} {closing}", None)
        yield Row(f"row {number + 1}", text, pair, _label(task, [first, second]))


def _label(task: Task, topics: list[str]) -> str | list[str] | float:
    if task is Task.regression:
        return topics.count("weather") / len(topics)
    return topics if task is Task.multi_label else topics[0]


def _sentence(split: str, number: int, draw: int, topic: str) -> str:
    words = _TOPICS[topic]
    subject, verb = (
        words[_pick(split, number, draw, 5)],
        words[5 + _pick(split, number, draw + 1, 3)],
    )
    page = (
        list(_NUM_ROWS).index(split) * 1000 + number
    )  # makes every text, and every split's texts, different
    return f"{subject} {verb} {_TIMES[_pick(split, number, draw + 2, len(_TIMES))]}, page {page}."


def _pick(split: str, number: int, draw: int, choices: int) -> int:
    return derive_seed(0, f"generated/{split}", number, draw) % choices
