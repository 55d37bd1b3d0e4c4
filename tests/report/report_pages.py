"""Helpers of the report tests: parse a page, write a report again, write csv files."""

import csv
import shutil
from html.parser import HTMLParser

from runs import configure

from ostinato.config import ReportConfig
from ostinato.report.page import report
from ostinato.run_dir import RunDir, read_json

SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Tags, attributes and shown text of a page; checks that tags are nested."""

    VOID = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.shown, self.open = [], [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.shown += data


def page_of(run):
    return Page(run.report.read_text(encoding="utf-8"))


def write_report_again(run, **options):
    """Writes the report of a finished run again; returns the page."""
    task = "single_label"
    if run.results.is_file():
        task = read_json(run.results)["config"]["data"]["task"]
    config, _ = configure(f"data.task={task}")
    report(ReportConfig(run=str(run.path), **options), run, config)
    return page_of(run)


def copy_of(run, folder):
    shutil.copytree(run.path, folder)
    return RunDir(folder)


def write_rows(file, rows):
    """Writes rows of text, label and source."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["text", "label", "source"], *rows])
    return file
