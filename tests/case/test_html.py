# SPDX-License-Identifier: MIT
"""whystall report -f html: one page that needs nothing but itself, valid, and safe whatever the target's names are."""

import json
import os
import re
import subprocess
import sys

import pytest

from conftest import DEBIAN
from fetch import python_path
from test_check import SICK

NAME = "<img src=x onerror=alert(1)>'\"&.py"


@pytest.fixture(scope="module")
def page(binary, tmp_path_factory):
    """The page of a program whose path, arguments and thread are hostile; parsed, its text, and the JSON report."""
    place = tmp_path_factory.mktemp("html")
    (place / NAME).write_text(SICK.replace('name="worker"', 'name="</pre><script>alert(2)</script>"'))
    record = place / "record"
    subprocess.run([binary, "run", "-q", "-o", record, "--", DEBIAN, place / NAME, "</title><script>alert(3)</script>"],
                   check=True, timeout=60)
    out = place / "page.html"
    subprocess.run([binary, "report", "-f", "html", "-o", out, record], check=True, timeout=60)
    report = subprocess.run([binary, "report", "-f", "json", record], stdout=subprocess.PIPE, check=True, timeout=60).stdout
    text = out.read_text(encoding="utf-8")
    sys.path.append(python_path("html5lib==1.1"))
    import html5lib

    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)  # any error of the page's is an exception
    return parser.parse(text), text, json.loads(report)


def test_it_is_valid_and_loads_and_runs_nothing(page):
    tree, text, _ = page
    allowed = {"html", "head", "body", "meta", "title", "style", "h1", "h2", "h3", "p", "span", "b", "br", "i", "table", "tbody",
               "tr", "th", "td", "code", "pre", "details", "summary", "div", "svg", "g", "rect", "line"}
    for element in tree.iter():
        assert re.sub(r"^{.*}", "", element.tag) in allowed, element.tag
        assert not {a for a in element.attrib if a.startswith("on") or a in ("src", "href", "style", "action")}
    assert "url(" not in text and "@import" not in text and "http://" not in text and "https://" not in text
    assert "default-src 'none'" in text


def test_it_says_what_the_report_says(page):
    tree, _, report = page
    (loop,) = report["processes"][0]["loops"]
    said = " ".join("".join(tree.itertext()).split())
    assert f"stalled {loop['stalls']['count']} times" in said
    for cause in loop["causes"]:
        if cause["share"] > 0.05:
            assert " ".join(cause["why"].split()) in said and cause["culprit"]["function"] in said
    assert NAME in said and "alert(2)" in said and "alert(3)" in said  # as text
    stalls = [e for e in tree.iter() if e.tag == "details"]
    assert len(stalls) == min(10, loop["stalls"]["count"])
    assert all("heavy" in "".join(s.itertext()) or "sleepy" in "".join(s.itertext()) for s in stalls[:2])
    bars = {e.get("class") for e in tree.iter() if e.tag.endswith("rect")}
    assert {"gil", "syscall"} <= bars


def test_run_writes_it_too(binary, tmp_path):
    out = tmp_path / "page.html"
    subprocess.run([binary, "run", "-q", "-o", tmp_path / "record", "--report", out, "-f", "html", "--", "true"], check=True,
                   timeout=60)
    assert "No event loop was seen." in out.read_text() and os.listdir(tmp_path).count("page.html") == 1
