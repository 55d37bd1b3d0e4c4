"""Generates text of three classes that a tiny model learns in seconds.

The rows depend on this file alone.
"""

from collections.abc import Iterator

from ostinato.config import Task
from ostinato.data.columns import Row
from ostinato.data.files import RowSource
from ostinato.seeding import derive_seed

_NUM_ROWS = {"train": 300, "val": 60, "test": 90}
_PAGES_PER_SPLIT = 1000
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
_NUM_SUBJECTS = 5  # of each topic; its verbs follow
_NUM_VERBS = 3
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


def generate(
    split: str,
    task: Task,
    with_pair: bool,
) -> RowSource:
    """Generates the rows of a split; all texts of all splits differ.

    A text has two sentences, each about one topic. The label depends on the task:
    the topic that both sentences share (single-label), the one or two topics
    (multi-label), or the share of sentences about weather (regression).

    Args:
        split: train, val or test.
        task: what a label is.
        with_pair: the second sentence becomes the second text of the row.
    """
    rows = _rows(split, task, with_pair)
    return RowSource(f"generated[{split}]", rows)


def _rows(
    split: str,
    task: Task,
    with_pair: bool,
) -> Iterator[Row]:
    topics = list(_TOPICS)
    for number in range(_NUM_ROWS[split]):
        first_topic = topics[number % len(topics)]
        second_topic = first_topic
        if task is not Task.single_label:
            choice = _pick(split, number, 0, len(topics))
            second_topic = topics[choice]
        first = _sentence(split, number, 1, first_topic)
        second = _sentence(split, number, 5, second_topic)
        label = _label(task, [first_topic, second_topic])
        where = f"row {number + 1}"
        if with_pair:
            yield Row(
                where,
                text=first,
                pair=second,
                label=label,
            )
        else:
            yield Row(
                where,
                text=f"{first} {second}",
                pair=None,
                label=label,
            )


def _label(task: Task, topics: list[str]) -> str | list[str] | float:
    if task is Task.regression:
        return topics.count("weather") / len(topics)
    if task is Task.multi_label:
        return topics
    return topics[0]


def _sentence(
    split: str,
    number: int,
    draw: int,
    topic: str,
) -> str:
    words = _TOPICS[topic]
    subject_number = _pick(split, number, draw, _NUM_SUBJECTS)
    subject = words[subject_number]
    verb_number = _pick(split, number, draw + 1, _NUM_VERBS)
    verb = words[_NUM_SUBJECTS + verb_number]
    time_number = _pick(split, number, draw + 2, len(_TIMES))
    time = _TIMES[time_number]
    # The page makes all texts of all splits different.
    split_number = list(_NUM_ROWS).index(split)
    page = split_number * _PAGES_PER_SPLIT + number
    return f"{subject} {verb} {time}, page {page}."


def _pick(
    split: str,
    number: int,
    draw: int,
    choices: int,
) -> int:
    purpose = f"generated/{split}"
    seed = derive_seed(0, purpose, number, draw)
    return seed % choices
