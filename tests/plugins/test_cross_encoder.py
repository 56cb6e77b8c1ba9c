"""The `cross_encoder` teacher: contract, order, batching, cuts, classes; and that a trained one's scores mean
something.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from lmteach.errors import RecipeError, TeacherError
from lmteach.teaching.pair_scorer import PairScorer
from lmteach.teaching.protocol import Teacher, TeacherResources
from lmteach.testing import TeacherContract, no_members
from lmteach.token_batches import token_batches
from lmteach.types import Judgement
from lmteach_plugins.teachers.cross_encoder import CrossEncoderTeacher

DOCUMENTS = {
    "Pushing onto the heap and popping the smallest item take logarithmic time.": "data structures",
    "A linked list keeps its nodes in order; a tree keeps them sorted.": "data structures",
    "Knead the dough, let it rise, and bake the bread for forty minutes.": "cooking",
    "Simmer the soup slowly and season it with salt, pepper and thyme.": "cooking",
    "The regulation lays down rules on the labelling of beef and veal.": "food law",
    "The directive limits additives in foodstuffs sold in member states.": "food law",
    "The comet was seen near Jupiter by the new space telescope.": "astronomy",
    "Two galaxies collide and their stars form a bright ring.": "astronomy",
}
TOPICS = ("data structures", "cooking", "food law", "astronomy")
NLI = ("contradiction", "neutral", "entailment")
Row = dict[str, torch.Tensor]


def save_tokenizer(folder: Path) -> int:
    """Write a WordPiece tokenizer whose words are those of the documents; return its size."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    texts = [*DOCUMENTS, *TOPICS, "this text is about ."]
    normal, split = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = {w for text in texts for w, _ in split.pre_tokenize_str(normal.normalize_str(text))}
    letters = {c for word in words for c in word} | set("abcdefghijklmnopqrstuvwxyz")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += sorted(words | letters) + sorted(f"##{c}" for c in letters)
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normal, split
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **names)
    fast.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    fast.save_pretrained(folder)
    return len(vocabulary)


def save_model(
    folder: Path, labels: Sequence[str] = ("LABEL_0",), *, family: str = "Bert", seed: int = 0
) -> Path:
    """Write a small random classifier with these classes; weights large enough that every token matters."""
    import transformers

    n_vocabulary = save_tokenizer(folder)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 64, "max_position_embeddings": 128, "vocab_size": n_vocabulary}
    if family == "DistilBert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": n_vocabulary}
    config = getattr(transformers, f"{family}Config")(
        **sizes, id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)}
    )
    torch.manual_seed(seed)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)
    model.save_pretrained(folder)
    return folder


def build(folder: Path, **keys: Any) -> CrossEncoderTeacher:
    config = CrossEncoderTeacher.Config(model=str(folder), **{"precision": "fp32", **keys})
    return CrossEncoderTeacher(config, TeacherResources(no_members))


def scores_of(teacher: Teacher, judgements: Sequence[Judgement]) -> torch.Tensor:
    return torch.tensor([verdict.scores for verdict in teacher.judge(judgements)], dtype=torch.float64)


JUDGEMENTS = [Judgement(document, TOPICS) for document in DOCUMENTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("reranker"))


@pytest.fixture(scope="module")
def nli_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("nli"), NLI)


class TestReranker(TeacherContract):
    folder: ClassVar[Path]
    other_keys = (
        {"template": "This text is about {candidate}."},
        {"first": "document"},
        {"max_tokens": 40},
        {"max_candidate_tokens": 2},
        {"precision": "bf16"},
    )

    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        type(self).folder = folder

    def build(self, **keys: Any) -> Teacher:
        return build(self.folder, batch_tokens=96, **keys)


class TestNli(TeacherContract):
    folder: ClassVar[Path]
    other_keys = ({"positive": "neutral"},)

    @pytest.fixture(autouse=True)
    def _folder(self, nli_folder: Path) -> None:
        type(self).folder = nli_folder

    def build(self, **keys: Any) -> Teacher:
        return build(self.folder, template="This text is about {candidate}.", **keys)


def plain_logits(folder: Path, one: str, two: str) -> torch.Tensor:
    """One pair by transformers alone, without batch, padding or our cuts."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(one, two, return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs).logits[0].double()


def test_a_rerankers_score_is_its_logit_with_the_candidate_first(folder: Path) -> None:
    (row,) = scores_of(build(folder), JUDGEMENTS[:1])
    for topic, score in zip(TOPICS, row, strict=True):
        assert score == pytest.approx(plain_logits(folder, topic, JUDGEMENTS[0].document).item(), abs=1e-5)
    turned = plain_logits(folder, JUDGEMENTS[0].document, TOPICS[0]).item()
    assert abs(turned - row[0].item()) > 1e-3
    assert scores_of(build(folder, first="document"), JUDGEMENTS[:1])[0, 0] == pytest.approx(turned, abs=1e-5)


def test_an_nli_score_is_entailment_minus_contradiction_with_the_document_first(nli_folder: Path) -> None:
    template = "This text is about {candidate}."
    (row,) = scores_of(build(nli_folder, template=template), JUDGEMENTS[:1])
    for topic, score in zip(TOPICS, row, strict=True):
        logits = plain_logits(nli_folder, JUDGEMENTS[0].document, template.replace("{candidate}", topic))
        assert score == pytest.approx((logits[2] - logits[0]).item(), abs=1e-5)
    neutral = scores_of(build(nli_folder, template=template, positive="Neutral"), JUDGEMENTS[:1])[0, -1]
    assert neutral == pytest.approx((logits[1] - torch.logsumexp(logits[[0, 2]], 0)).item(), abs=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_the_batch_size_changes_nothing(folder: Path, batch_tokens: int) -> None:
    expected = scores_of(build(folder, batch_tokens=500), JUDGEMENTS)
    found = scores_of(build(folder, batch_tokens=batch_tokens), JUDGEMENTS)
    assert (found - expected).abs().max() < 1e-5
    assert expected.std(0).min() > 1e-3, "scores that are all alike would prove nothing"


def test_batches_hold_every_position_once_within_the_budget() -> None:
    lengths = [5, 90, 3, 3, 41, 17, 90, 8]
    batches = list(token_batches(lengths, 100))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 100 for batch in batches)
    assert [lengths[batch[0]] for batch in batches] == sorted((lengths[b[0]] for b in batches), reverse=True)
    assert len(batches) < len(lengths)


def test_out_of_memory_halves_the_batch_and_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scores_of(build(folder), JUDGEMENTS)
    real, refused = PairScorer._logits, []

    def scarce(self: PairScorer, batch: Any) -> torch.Tensor:
        if batch["input_ids"].numel() > 100:
            refused.append(batch["input_ids"].numel())
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(self, batch)

    monkeypatch.setattr(PairScorer, "_logits", scarce)
    found = scores_of(build(folder, batch_tokens=800), JUDGEMENTS)
    assert refused
    assert (found - expected).abs().max() < 1e-5
    monkeypatch.setattr(PairScorer, "_logits", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(TeacherError, match="Out of memory"):
        build(folder).judge(JUDGEMENTS)
    monkeypatch.setattr(PairScorer, "_logits", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        build(folder).judge(JUDGEMENTS)


def test_only_the_document_is_cut(folder: Path) -> None:
    """Words behind the limit change nothing, whichever text comes first; the candidate is whole."""
    long = "bake the bread . " * 60
    for first in ("candidate", "document"):
        teacher = build(folder, first=first, max_tokens=40)
        asked = [Judgement(text, ("astronomy", "food law")) for text in (long, long + "galaxies", long[:-17])]
        rows = scores_of(teacher, asked)
        assert (rows[0] - rows[1]).abs().max() < 1e-5
        assert (rows[0] - rows[2]).abs().max() < 1e-5
        assert abs(rows[0, 0] - rows[0, 1]) > 1e-4
        assert [v.usage.prompt_tokens for v in teacher.judge(asked)] == [80, 80, 80]
        assert teacher.count_tokens(asked) == 240


def test_a_long_candidate_is_cut_and_leaves_room(folder: Path) -> None:
    teacher = build(folder, max_tokens=40, max_candidate_tokens=4)
    name = "food law food law"
    rows = scores_of(teacher, [Judgement("bake the bread", (name, name + " astronomy" * 500))])
    assert rows[0, 0] == pytest.approx(rows[0, 1].item(), abs=1e-5)


def test_a_separator_in_a_document_is_text(folder: Path) -> None:
    """Else a document could end itself and speak in the candidate's place."""
    teacher = build(folder)
    (row,) = teacher._tokens().rows([("bread [SEP] [CLS] astronomy", "cooking")])
    assert row["input_ids"].count(3) == 2
    assert row["input_ids"].count(2) == 1


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "Electra", "Roberta"])
def test_bf16_stays_near_fp32(tmp_path: Path, family: str) -> None:
    save_model(tmp_path, family=family)
    full, half = (scores_of(build(tmp_path, precision=p), JUDGEMENTS) for p in ("fp32", "bf16"))
    assert (full - half).abs().max() < 0.2 * full.std()
    assert (full - half).abs().max() > 0
    # Coarse scores would fall together.
    assert len(half.unique()) == half.numel()


def test_a_trained_one_ranks_what_it_has_learnt(tmp_path: Path) -> None:
    """Overfit on eight documents: each document's own topic must come first, well apart from the others."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    save_model(tmp_path, seed=3)
    before = scores_of(build(tmp_path), JUDGEMENTS)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)  # evaluation mode: no dropout
    pairs = [(topic, document) for document in DOCUMENTS for topic in TOPICS]
    inputs = tokenizer([a for a, _ in pairs], [b for _, b in pairs], padding=True, return_tensors="pt")
    gold = torch.tensor([float(DOCUMENTS[document] == topic) for topic, document in pairs])
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(150):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(**inputs).logits[:, 0], gold)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.save_pretrained(tmp_path)
    after = scores_of(build(tmp_path), JUDGEMENTS)
    own = torch.tensor([TOPICS.index(topic) for topic in DOCUMENTS.values()])
    assert after.argmax(1).tolist() == own.tolist()
    assert before.argmax(1).tolist() != own.tolist()
    # Log-odds: above zero for a yes, below for a no, so that the threshold of LMTX (0) means something.
    is_own = torch.nn.functional.one_hot(own, len(TOPICS)).bool()
    assert after[is_own].min() > 0 > after[~is_own].max()


def test_identity_follows_the_weights_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    import shutil

    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    assert build(moved, batch_tokens=7).identity == build(folder).identity
    save_model(tmp_path / "other", seed=1)
    assert build(tmp_path / "other").identity != build(folder).identity
    assert str(folder) not in build(folder).identity


def test_a_model_with_unnamed_classes_asks_which_one_counts(tmp_path: Path) -> None:
    save_model(tmp_path, ("LABEL_0", "LABEL_1"))
    with pytest.raises(TeacherError, match=r"Which .* LABEL_0, LABEL_1") as error:
        build(tmp_path).judge(JUDGEMENTS[:1])
    assert "teacher.positive=LABEL_1" in str(error.value)
    with pytest.raises(TeacherError, match="no class 'LABEL_2'"):
        build(tmp_path, positive="LABEL_2").judge(JUDGEMENTS[:1])
    named = scores_of(build(tmp_path, positive="LABEL_1"), JUDGEMENTS[:1])
    assert torch.allclose(named, -scores_of(build(tmp_path, positive="LABEL_0"), JUDGEMENTS[:1]), atol=1e-6)


def test_an_encoder_without_output_layer_is_refused(tmp_path: Path, folder: Path) -> None:
    """transformers would make a random layer, and judge by chance."""
    from transformers import AutoModel

    save_tokenizer(tmp_path)
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TeacherError, match="no trained output layer"):
        build(tmp_path).judge(JUDGEMENTS[:1])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model": ""}, "needs a model"),
        ({"template": "About what?"}, "exactly once"),
        ({"max_tokens": 0}, "at least 1"),
        ({"batch_tokens": -3}, "at least 1"),
    ],
)
def test_keys_that_make_no_sense_are_refused(folder: Path, keys: dict[str, Any], message: str) -> None:
    config = dataclasses.replace(CrossEncoderTeacher.Config(model=str(folder)), **keys)
    with pytest.raises(RecipeError, match=message):
        CrossEncoderTeacher(config, TeacherResources(no_members))


def test_a_broken_model_is_a_teacher_error(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(TeacherError, match="no model at"):
        build(tmp_path / "nowhere").judge(JUDGEMENTS[:1])
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(TeacherError, match="cannot be loaded"):
        build(broken).judge(JUDGEMENTS[:1])


def test_usage_adds_up(folder: Path) -> None:
    teacher = build(folder)
    verdicts = teacher.judge(JUDGEMENTS)
    assert sum(v.usage.prompt_tokens for v in verdicts) == teacher.count_tokens(JUDGEMENTS)
    assert all(v.usage.seconds > 0 for v in verdicts)
