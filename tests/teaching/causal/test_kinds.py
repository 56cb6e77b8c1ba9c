"""The four kinds against arithmetic done by hand on transformers' own logits."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.teaching.answers import single_token_ids, spellings
from lmteach.teaching.causal.frame import Frame
from lmteach.teaching.causal.kinds import Cuts, make_kind
from lmteach.teaching.causal.scorer import Scorer
from lmteach.teaching.listing import agreement, shuffled_groups
from lmteach.teaching.prompts import LETTERS, enumerate_candidates, load_prompt
from lmteach.types import Judgement

CUTS = Cuts(30, 8)
LABELS = ("winter weather", "sport", "Music", "", "sport and games", "sport")
JUDGEMENTS = [
    Judgement("Snow fell on the hills.", LABELS[:3]),
    Judgement("", LABELS[:2]),
    Judgement("The match was won in the last minute. " * 20, LABELS[::-1]),
    Judgement("A song.", LABELS[2:3]),
]


@pytest.fixture(scope="module")
def model(make_model):
    return make_model("llama")


@pytest.fixture(scope="module")
def scorer(model):
    return Scorer(model, batch_tokens=100)


def log_probs(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].log_softmax(-1)


def label_log_prob(model, prefix, label):
    rows = log_probs(model, prefix + label)[len(prefix) - 1 :]
    return sum(rows[i, token].item() for i, token in enumerate(label))


def kind_and_frame(tokenizer, name, normalisation="mean", candidates=()):
    prompt = load_prompt(name)
    return make_kind(tokenizer, prompt, CUTS, normalisation), Frame(tokenizer, prompt, 30, 8, candidates)


@pytest.mark.parametrize("name", ["about", "lmtx-1"])
def test_pointwise_is_the_log_odds_of_yes(model, scorer, tokenizer, name):
    kind, frame = kind_and_frame(tokenizer, name)
    yes, no = (single_token_ids(tokenizer, word) for word in ("yes", "no"))
    assert len(yes) == len(no) == 4
    for judgement, scored in zip(JUDGEMENTS, kind.score(scorer, JUDGEMENTS), strict=True):
        (prefix,) = frame.documents([judgement.document])
        for candidate, score in zip(judgement.candidates, scored.scores, strict=True):
            last = log_probs(model, prefix + frame.candidates([candidate])[0] + frame.tail)[-1].exp()
            expected = math.log(sum(last[i].item() for i in yes) / sum(last[i].item() for i in no))
            assert score == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("normalisation", ["mean", "sum"])
@pytest.mark.parametrize("name", ["likelihood", "likelihood-chat"])
def test_likelihood_is_the_gain_over_no_document(model, scorer, tokenizer, name, normalisation):
    kind, frame = kind_and_frame(tokenizer, name, normalisation)
    (without,) = frame.documents([""])
    for judgement, scored in zip(JUDGEMENTS, kind.score(scorer, JUDGEMENTS), strict=True):
        (prefix,) = frame.documents([judgement.document])
        for candidate, score in zip(judgement.candidates, scored.scores, strict=True):
            (label,) = frame.candidates([candidate])
            if not label:
                assert score is None
                continue
            gain = label_log_prob(model, prefix, label) - label_log_prob(model, without, label)
            expected = gain / len(label) if normalisation == "mean" else gain
            assert score == pytest.approx(expected, abs=2e-4)


def test_an_empty_document_tells_nothing(scorer, tokenizer):
    kind, _ = kind_and_frame(tokenizer, "likelihood")
    (scored,) = kind.score(scorer, [Judgement("", ("a", "b c"))])
    assert scored.scores == pytest.approx((0, 0), abs=1e-5)


def test_a_label_s_part_without_a_document_is_read_once(scorer, tokenizer):
    kind, _ = kind_and_frame(tokenizer, "likelihood")
    first, again = (kind.score(scorer, JUDGEMENTS[:1])[0] for _ in range(2))
    assert first.scores == again.scores
    assert first.n_tokens > again.n_tokens


@pytest.mark.parametrize(("name", "n_shown"), [("choice", 1), ("about", 1), ("listwise", 2)])
def test_a_description_stands_behind_its_name_in_every_kind_that_shows_candidates(
    name, n_shown, model, scorer, tokenizer
):
    """But never in the answer that a `choice` looks for."""
    bare = Judgement("Snow fell.", ("weather", "sport"))
    told = dataclasses.replace(bare, descriptions=("rain or snow", ""))
    kind, seen = make_kind(tokenizer, load_prompt(name), Cuts(30, 40), "mean"), []

    class Watching(Scorer):
        def log_probs(self, requests):
            seen.extend(requests)
            return super().log_probs(requests)

        def rows(self, requests, ids):
            seen.extend(requests)
            return super().rows(requests, ids)

    (one,), (two,) = (kind.score(Watching(model, batch_tokens=100), [j]) for j in (bare, told))
    assert one.scores != two.scores

    def shown(request):
        texts = [tokenizer.decode(request.prefix), *map(tokenizer.decode, request.suffixes)]
        return sum(text.count("weather (rain or snow)") for text in texts)

    assert [shown(request) for request in seen] == [0, n_shown]


def test_choice_is_a_distribution_over_the_candidates(model, scorer, tokenizer):
    kind, _ = kind_and_frame(tokenizer, "choice")
    end = (tokenizer.eos_token_id,)
    for judgement, scored in zip(JUDGEMENTS, kind.score(scorer, JUDGEMENTS), strict=True):
        frame = Frame(tokenizer, load_prompt("choice"), 30, 8, judgement.candidates)
        (prefix,) = frame.documents([judgement.document])
        spelled = [
            [ids for ids in dict.fromkeys(frame.candidates(spellings(c))) if ids]
            for c in judgement.candidates
        ]
        flat = [ids for own in spelled for ids in own]
        if any(a != b and b[: len(a)] == a for a in flat for b in flat):  # "sport", "sport and games"
            spelled = [[ids + end for ids in own] for own in spelled]
        odds = [sum(math.exp(label_log_prob(model, prefix, ids)) for ids in own) for own in spelled]
        for score, own in zip(scored.scores, odds, strict=True):
            assert (score is None) == (own == 0)
            if score is not None:
                assert score == pytest.approx(math.log(own / sum(odds)), abs=2e-4)
    assert sum(math.exp(s) for s in kind.score(scorer, JUDGEMENTS[:1])[0].scores) == pytest.approx(1)


def test_listwise_is_the_mean_of_an_order_and_its_reverse(model, scorer, tokenizer):
    kind, frame = kind_and_frame(tokenizer, "listwise")
    letters = [single_token_ids(tokenizer, letter) for letter in LETTERS]
    for judgement, scored in zip(JUDGEMENTS, kind.score(scorer, JUDGEMENTS), strict=True):
        (prefix,) = frame.documents([judgement.document])
        (order,) = shuffled_groups(judgement)
        halves = []
        for asked in (order, order[::-1]):
            (text,) = frame.lists([enumerate_candidates([judgement.candidates[i] for i in asked])])
            last = log_probs(model, prefix + text + frame.tail)[-1].exp()
            mass = [sum(last[i].item() for i in letter) for letter in letters]
            odds = [math.log(mass[place] / mass[len(asked)]) for place in range(len(asked))]
            halves.append([odds[asked.index(i)] for i in range(len(asked))])
        expected = [(a + b) / 2 for a, b in zip(*halves, strict=True)]
        assert scored.scores == pytest.approx(expected, abs=1e-4)
        assert scored.details == {"consistency": pytest.approx(agreement(*halves))}


def test_more_candidates_than_letters(scorer, tokenizer):
    kind, _ = kind_and_frame(tokenizer, "listwise")
    candidates = tuple(f"label {i}" for i in range(60))
    (scored,) = kind.score(scorer, [Judgement("A document.", candidates)])
    assert len(scored.scores) == 60
    assert all(isinstance(score, float) and math.isfinite(score) for score in scored.scores)
    assert len(set(scored.scores)) == 60


ALL = ("about", "likelihood", "listwise", "choice", "sentiment")


@pytest.mark.parametrize("name", ALL)
def test_the_count_is_what_is_read(scorer, tokenizer, name):
    judgements = [j for j in JUDGEMENTS if all(j.candidates)]
    kind, _ = kind_and_frame(tokenizer, name)
    counted = kind.count(judgements)
    assert counted == [scored.n_tokens for scored in kind.score(scorer, judgements)]
    assert all(n > 0 for n in counted)


texts = st.text(st.characters(codec="utf-8"), max_size=40)


@pytest.mark.parametrize("name", ALL)
def test_grouping_does_not_matter_for_any_text(scorer, tokenizer, name):
    kind, _ = kind_and_frame(tokenizer, name)

    @settings(deadline=None, max_examples=15)
    @given(
        st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=4).map(tuple)), min_size=2, max_size=3)
    )
    def check(pairs):
        judgements = [Judgement(document, candidates) for document, candidates in pairs]
        together = kind.score(scorer, judgements)
        for judgement, scored in zip(judgements, together, strict=True):
            (alone,) = kind.score(scorer, [judgement])
            assert len(scored.scores) == len(judgement.candidates)
            for a, b in zip(scored.scores, alone.scores, strict=True):
                assert (a is None) == (b is None)
                assert a is None or (math.isfinite(a) and a == pytest.approx(b, abs=1e-4))

    check()
