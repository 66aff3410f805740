"""Markdown in the dialects of platforms."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bots.formatting.dialects import to_html, to_mrkdwn, to_plain, to_telegram
from tests.support.platforms.telegram import is_broken

CASES = [
    ("**a** *b* ~~c~~ `d<`", "a b c d<", "<b>a</b> <i>b</i> <s>c</s> <code>d&lt;</code>", "*a* _b_ ~c~ `d&lt;`"),
    ("# T", "T", "<b>T</b>", "*T*"),
    ("[l](http://x/?a&b)", "l (http://x/?a&b)", '<a href="http://x/?a&amp;b">l</a>', "<http://x/?a&amp;b|l>"),
    ("- a\n- b", "- a\n- b", "• a\n• b", "• a\n• b"),
    ("3. a\n4. b", "3. a\n4. b", "3. a\n4. b", "3. a\n4. b"),
    ("```py\n<x>\n```", "<x>", '<pre><code class="language-py">&lt;x&gt;</code></pre>', "```\n&lt;x&gt;\n```"),
    ("> q", "> q", "<blockquote>q</blockquote>", "> q"),
    ("<script>", "<script>", "&lt;script&gt;", "&lt;script&gt;"),
    ("one\ntwo", "one\ntwo", "one\ntwo", "one\ntwo"),
]


@pytest.mark.parametrize(("source", "plain", "telegram", "mrkdwn"), CASES)
def test_each_element_in_each_dialect(source: str, plain: str, telegram: str, mrkdwn: str) -> None:
    assert (to_plain(source), to_telegram(source), to_mrkdwn(source)) == (plain, telegram, mrkdwn)


def test_a_table_has_columns_of_one_width() -> None:
    assert to_plain("| a | bb |\n|---|---|\n| ccc | d |") == "a    bb\n---  --\nccc  d"


def test_html_of_the_text_is_shown_and_not_meant() -> None:
    assert to_html("<img onerror=x> **b**") == "<p>&lt;img onerror=x&gt; <strong>b</strong></p>"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab*_`~[]()<>&\n# >-|!1."), max_size=200))
def test_telegrams_html_is_always_well_formed(source: str) -> None:
    assert not is_broken(to_telegram(source))
