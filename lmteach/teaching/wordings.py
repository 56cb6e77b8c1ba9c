"""The named prompts. A changed text is a new identity in the store, so verdicts never mix."""

from __future__ import annotations

from lmteach.teaching.prompts import Prompt

_FENCED = "<document>\n{document}\n</document>\n"


def _lmtx(domain: str, question: str, name: str) -> Prompt:
    """The wordings of LMTX (Zhang et al. 2025): a quoted document, a domain, a yes/no question."""
    sentence = f" {domain}" if domain else ""
    return Prompt(
        kind="pointwise",
        style="plain",
        user=f'document = "{{document}}".{sentence} {question} Answer yes or no.',
        name=name,
    )


_RELEVANT = 'Is the tag "{candidate}" relevant to the document?'
_ALL = (
    # LMTX: the number is the paper's prompt id, and decides the data set it was written for.
    _lmtx("", _RELEVANT, "lmtx-0"),
    _lmtx("The document is an amazon product description.", _RELEVANT, "lmtx-1"),
    _lmtx("The document is a wikipedia page.", _RELEVANT, "lmtx-2"),
    _lmtx(
        "The document is a wikipedia page.",
        'Does another wikipedia page named "{candidate}" have a relation to the document?',
        "lmtx-7",
    ),
    # "about" separates better than "relevant": asked whether a tag is relevant, models say yes to nearly all.
    Prompt(
        kind="pointwise",
        name="about",
        user="Below are a document and then a topic. Say whether the document is about that topic: answer"
        " Yes or No, nothing else.\n\n" + _FENCED + "Topic: {candidate}\nIs the document about it?",
    ),
    # The same question in other words, to see how far the answer hangs on them.
    Prompt(
        kind="pointwise",
        name="about-paraphrased",
        user="Read the text, then decide whether the subject named under it is what the text deals with."
        " Reply with one word, Yes or No.\n\n"
        + _FENCED
        + "Subject: {candidate}\nDoes the text deal with this subject?",
    ),
    # For models too small to answer questions: how much likelier the document makes the label.
    Prompt(
        kind="likelihood",
        name="likelihood",
        style="raw",
        user=_FENCED,
        answer="Topic: {candidate}",
    ),
    Prompt(
        kind="likelihood",
        name="likelihood-chat",
        user="Name the topic of the document.\n\n" + _FENCED,
        answer="{candidate}",
    ),
    Prompt(
        kind="listwise",
        name="listwise",
        user="Below are a document and then a list of topics, each with a letter. Say which topic fits the"
        " document best: answer with its letter, nothing else.\n\n" + _FENCED + "{candidates}",
    ),
    Prompt(
        kind="choice",
        name="choice",
        system="You sort documents into classes. The classes: {candidates}. You answer with the name of"
        " one class and nothing else.",
        user=_FENCED + "Which class is it?",
        answer="{candidate}",
    ),
    # LlamBERT (Csanády et al. 2024): a system line that demands one word, the text, the rule again.
    Prompt(
        kind="choice",
        name="sentiment",
        system="You judge the sentiment of texts and answer with one word only: 'positive' or 'negative'.",
        user="Decide whether the sentiment of this text is positive or negative.\n\n"
        + _FENCED
        + "Answer with one word only, 'positive' or 'negative'.",
        answer="{candidate}",
    ),
    Prompt(
        kind="choice",
        name="nervous-system",
        system="You answer with one word only: 'yes' or 'no'.",
        user="Is the following medical term related to the human nervous system? Structures that are only"
        " vascular do not count.\n\n" + _FENCED + "Answer with one word only, 'yes' or 'no'.",
        answer="{candidate}",
    ),
)

PRESETS = {prompt.name: prompt for prompt in _ALL}
