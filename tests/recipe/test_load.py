"""From layers to a checked recipe: strict keys, plugin sections, interpolation, origins, and the way back to YAML."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach import registry
from lmteach.errors import PluginError, RecipeError
from lmteach.recipe.load import LoadedRecipe, flatten, load_recipe, resolve_section, to_yaml
from lmteach.recipe.schema import Recipe
from lmteach_plugins.teachers.oracle import OracleTeacher

SCRATCH = """
from dataclasses import dataclass, field
from typing import Any

class Mine:
    @dataclass
    class Config:
        rate: float
        words: dict[str, int] = field(default_factory=dict)
        prompt: Any = "short"
        members: list[dict[str, Any]] = field(default_factory=list, metadata={"plugin": "teacher"})
    def __init__(self, config, resources):
        self.config = config

class NoConfig:
    pass

class OddConfig:
    @dataclass
    class Config:
        thing: set[int] = field(default_factory=set)
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Load a recipe given as text, with overrides; `mine.py` lies in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SCRATCH)

    def load(text: str, *overrides: str, **others: str) -> LoadedRecipe:
        for name, other in others.items():
            (tmp_path / f"{name}.yaml").write_text(other, encoding="utf-8")
        (tmp_path / "child.yaml").write_text(text, encoding="utf-8")
        return load_recipe("child.yaml", overrides)

    return load


@pytest.mark.parametrize("override", ["supervision=all", "supervision=gold,teacher", "seed=1,2"])
def test_several_values_at_once_are_for_a_fit(load, override: str) -> None:
    with pytest.raises(RecipeError, match="Several at once are for `lmteach fit` alone"):
        load("name: x\n", override)


def test_nothing_said_is_the_default(load) -> None:
    recipe = load("").recipe
    assert recipe.name == "child"
    assert recipe.teacher["name"] == "transformers"
    assert recipe.teacher["max_document_tokens"] == 430
    assert recipe.student.encoder["pooling"] == "mean"
    plain = dataclasses.asdict(Recipe())
    plugin_sections = ("name", "teacher", "student", "search", "curriculum", "loss")
    for section in set(plain) - set(plugin_sections):
        assert dataclasses.asdict(recipe)[section] == plain[section]


def test_types_come_out_as_the_schema_says(load) -> None:
    loaded = load("training: {lr: 1, epochs: '3'}\ncorpus: {n_train: 5, packages: [numpy]}", "run.folder=7")
    training = loaded.recipe.training
    assert (training.lr, type(training.lr), training.epochs) == (1.0, float, 3)
    assert (loaded.recipe.corpus.n_train, loaded.recipe.corpus.packages) == (5, ["numpy"])
    assert loaded.recipe.run.folder == "7"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=1.5", "command line: 'seed' cannot be 1.5"),
        ("seed=yes", "'seed' cannot be True"),
        ("seed=", "'seed' cannot be None"),
        ("training.lr=fast", "'training.lr' cannot be 'fast'"),
        ("training.drop_last=3.5", "'training.drop_last' cannot be 3.5"),
        ("loss.name=hinge", "There is no loss named 'hinge'"),
        ("evaluation.ks=5", "'evaluation.ks' cannot be 5"),
        ("evaluation.ks=[1, a]", r"'evaluation.ks' cannot be \[1, 'a'\]"),
        ("corpus.n_train.x=1", "'corpus.n_train' is a value, it has no key 'x'"),
        ("teacher.model=[1]", "'teacher.model' cannot be"),
        ("teacher=oracle", "'teacher' cannot be 'oracle'"),
        ("name=???", "Missing mandatory value"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(load, override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load("", override)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "teacher.batchtokens=1",
            r"There is no key 'batchtokens' in 'teacher'\. Did you mean 'batch_tokens'\?",
        ),
        ("sed=1", r"There is no key 'sed' at the top of a recipe\. Did you mean 'seed'\?"),
        ("corpus.batch_size=1", r"no key 'batch_size' in 'corpus'\. Did you mean 'training\.batch_size'\?"),
        ("student.encoder.poling=cls", r"'student\.encoder'\. Did you mean 'pooling'\?"),
        ("loss.zzz=1", r"in 'loss'\. There are: margin, n_negatives, temperature\."),
        ("a..b=1", "There is no key 'a'"),
        (".seed=1", "There is no key ''"),
        (
            "teacher.name=orcale",
            r"command line: There is no teacher named 'orcale'\. Did you mean 'oracle'\?",
        ),
        ("curriculum.name=lmtz", r"no curriculum named 'lmtz'\. Did you mean 'lmtx'\?"),
    ],
)
def test_an_unknown_name_gets_the_nearest(load, override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load("", override)


def test_all_problems_come_at_once_each_with_its_place(load) -> None:
    text = "sed: 1\ntraining:\n  lr: fast\n  epoch: 3\nteacher:\n  name: oracle\n  nois: 0.1\ncurriculum:\n  name: x\n"
    with pytest.raises(RecipeError) as caught:
        load(text, "search.searcher.name=exacd")
    lines = str(caught.value).splitlines()
    assert lines[0] == "child.yaml has 6 faults:"
    for place, said in [
        ("child.yaml:1", "'sed'"),
        ("child.yaml:3", "'training.lr'"),
        ("child.yaml:4", "'epoch'"),
        ("child.yaml:7", "'nois'"),
        ("child.yaml:9", "curriculum named 'x'"),
        ("command line", "searcher named 'exacd'"),
    ]:
        assert any(place in line and said in line for line in lines), (place, said, lines)


ORACLE = dataclasses.asdict(OracleTeacher.Config())


def test_another_plugin_drops_the_former_ones_keys(load) -> None:
    parent = "teacher: {name: transformers, model: big, prompt: pointwise}\nseed: 5"
    child = "extends: parent\nteacher: {name: oracle, noise: 0.25}"
    recipe = load(child, parent=parent).recipe
    assert recipe.teacher == {"name": "oracle", **ORACLE, "noise": 0.25}
    assert recipe.seed == 5


def test_the_same_plugin_keeps_the_parents_keys(load) -> None:
    parent = "teacher: {name: transformers, model: big}"
    child = "extends: parent\nteacher: {name: transformers, prompt: pointwise}"
    teacher = load(child, "teacher.max_document_tokens=9", parent=parent).recipe.teacher
    assert (teacher["model"], teacher["prompt"], teacher["max_document_tokens"]) == ("big", "pointwise", 9)


@pytest.mark.parametrize("dashes", ["", "--"])
def test_an_override_may_name_another_plugin_and_set_its_keys(load, dashes: str) -> None:
    text = "teacher: {name: transformers, model: big}"
    recipe = load(text, f"{dashes}teacher.name=oracle", f"{dashes}teacher.noise=0.5").recipe
    assert (recipe.teacher["name"], recipe.teacher["noise"]) == ("oracle", 0.5)
    whole = load(text, f"{dashes}teacher={{name: oracle, noise: 0.5}}").recipe
    assert whole.teacher == recipe.teacher


def test_an_optional_teachers_keys_are_dropped_with_it_too(load) -> None:
    parent = "calibration: {documents: 5, teacher: {name: transformers, model: big}}"
    recipe = load("extends: parent\ncalibration: {teacher: {name: oracle}}", parent=parent).recipe
    assert recipe.calibration.teacher["name"] == "oracle"
    assert "model" not in recipe.calibration.teacher


def test_sections_that_say_nothing_change_nothing(load) -> None:
    parent = "corpus: {n_dev: 3}\nteacher: {name: oracle}"
    loaded = load("extends: parent\ncorpus:\nteacher: {}\ntraining:\n", "loss={}", parent=parent)
    assert loaded.recipe.corpus.n_dev == 3
    assert loaded.recipe.teacher["name"] == "oracle"
    assert loaded.origins["teacher.name"] == "parent.yaml:2"


def test_members_are_as_strict_as_teachers(load) -> None:
    def ensemble(*members: str) -> LoadedRecipe:
        return load(f"teacher: {{name: ensemble, members: [{', '.join(members)}]}}")

    members = ensemble("{name: oracle, noise: 0.5}", "{name: random}").recipe.teacher["members"]
    assert members[0] == {"name": "oracle", **ORACLE, "noise": 0.5}
    assert members[1]["name"] == "random"
    for wrong, said in [
        (
            "{name: oracle, nois: 1}",
            r"teacher\.members\[1\]: OracleTeacher has no key 'nois'. Did you mean 'noise'",
        ),
        ("{name: oracle, noise: much}", r"teacher\.members\[1\]: .*much"),
        ("{noise: 1}", r"teacher\.members\[1\]: A teacher needs a `name`"),
        ("{name: orcale}", r"no teacher named 'orcale'"),
        ("oracle", "members"),
    ]:
        with pytest.raises((RecipeError, PluginError), match=said):
            ensemble("{name: random}", wrong)


def test_members_of_members_are_resolved(load) -> None:
    text = """
    teacher:
      name: cascade
      cheap: {name: random}
      strong:
        name: ensemble
        members:
        - {name: oracle, noise: 0.1}
    """
    strong = load(text).recipe.teacher["strong"]
    assert strong["standardise"] == "document"
    assert strong["members"][0]["systematic"] == 0.0
    with pytest.raises(RecipeError, match=r"teacher\.strong\.members\[0\]: OracleTeacher has no key 'oise'"):
        load(text.replace("noise", "oise"))


def test_interpolations_are_resolved_and_typed(load) -> None:
    text = "seed: 7\nname: n${seed}\ncorpus: {n_train: '${seed}'}\nteacher: {name: oracle, seed: '${seed}'}"
    recipe = load(text, "training.lr=${seed}").recipe
    assert (recipe.name, recipe.corpus.n_train, recipe.teacher["seed"]) == ("n7", 7, 7)
    assert (recipe.training.lr, type(recipe.training.lr)) == (7.0, float)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: ${nothing}", r"child\.yaml:1: seed: Interpolation key 'nothing' not found"),
        ("name: x\ntraining:\n  epochs: ${name}", r"child\.yaml:3: training\.epochs: .*'x'"),
        ("name: ${name}", "(?i)recursive|interpolation"),
        ("teacher: {name: oracle, noise: '${name}'}", r"teacher: .*child"),
    ],
)
def test_interpolations_that_lead_nowhere(load, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load(text if "child" not in said else f"name: child\n{text}" if "name: o" in text else text)


def test_literal_references_survive(load) -> None:
    loaded = load(r"corpus: {text: 'cost \${price} {text}'}")
    assert loaded.recipe.corpus.text == "cost ${price} {text}"
    again = load(to_yaml(loaded.recipe)).recipe
    assert again.corpus.text == "cost ${price} {text}"


def test_a_value_of_any_type_may_be_a_mapping(load) -> None:
    text = "teacher:\n  name: transformers\n  prompt:\n    preset: pointwise\n    user: x\n"
    assert load(text).recipe.teacher["prompt"] == {"preset": "pointwise", "user": "x"}
    changed = load("extends: parent\nteacher: {prompt: likelihood}", parent=text).recipe
    assert changed.teacher["prompt"] == "likelihood"
    back = load("extends: parent\nteacher: {prompt: {preset: p}}", parent="teacher: {prompt: pointwise}")
    assert back.recipe.teacher["prompt"] == {"preset": "p"}


def test_a_plugin_from_a_file(load) -> None:
    recipe = load("teacher: {name: './mine.py:Mine', rate: 0.5, words: {a: 1, b: 2}}").recipe
    expected = {"rate": 0.5, "words": {"a": 1, "b": 2}, "prompt": "short", "members": []}
    assert recipe.teacher == {"name": "./mine.py:Mine", **expected}
    built = registry.build("teacher", recipe.teacher, None)
    assert dataclasses.asdict(built.config) == expected
    with pytest.raises(RecipeError, match=r"no key 'rat' in 'teacher'\. Did you mean 'rate'"):
        load("teacher: {name: './mine.py:Mine', rat: 0.5}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./mine.py:Mine", "(?s)teacher.*rate|rate.*[Mm]issing"),
        ("./mine.py:Mina", r"mine\.py has no 'Mina'\. Did you mean 'Mine'"),
        ("./none.py:Mine", r"There is no file .*none\.py to load the teacher 'Mine' from"),
        ("./mine.py:NoConfig", "'mine.py:NoConfig' has no Config dataclass"),
        ("./mine.py:OddConfig", "The Config of OddConfig cannot hold recipe keys"),
    ],
)
def test_files_that_hold_no_such_plugin(load, name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load(f"teacher: {{name: '{name}'}}")


def test_origins_name_file_and_line_of_every_value(load) -> None:
    parent = "# first line\nseed: 1\ntraining:\n  lr: 1e-4\n  epochs: 2\n"
    child = "extends: parent.yaml\n\ntraining:\n  lr: 2e-4\n"
    loaded = load(child, "--training.batch_size=8", "teacher={name: oracle, noise: 0.5}", parent=parent)
    assert loaded.origins.keys() == flatten(dataclasses.asdict(loaded.recipe)).keys()
    assert {key: value for key, value in loaded.origins.items() if value != "default"} == {
        "seed": "parent.yaml:2",
        "training.lr": "child.yaml:4",
        "training.epochs": "parent.yaml:5",
        "training.batch_size": "command line",
        "teacher.name": "command line",
        "teacher.noise": "command line",
    }


def test_a_resolved_section_fills_in_defaults() -> None:
    assert resolve_section("curriculum", {"name": "once"}, "here") == {"name": "once", "n_documents": None}
    with pytest.raises(RecipeError, match="here: A curriculum needs a `name`"):
        resolve_section("curriculum", {}, "here")


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30) | st.sampled_from(
    [
        "null",
        "1e-5",
        "yes",
        "[a]",
        "{a: b}",
        "${seed}",
        r"\${seed}",
        "'",
        '"',
        "- a",
        "#",
        "a: b",
        "~",
        "0x1F",
        "1_0",
    ]
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXTS.filter(lambda text: text not in ("", "???")),
    "seed": st.integers(-(2**40), 2**40),
    "corpus.text": TEXTS.filter(lambda text: text != "???"),
    "corpus.n_train": st.none() | st.integers(0, 10**9),
    "corpus.packages": st.lists(TEXTS.filter(lambda text: text != "???"), max_size=3),
    "training.lr": st.floats(allow_nan=False),
    "training.drop_last": st.booleans(),
    "training.gradient_clip": st.none() | st.floats(0, 1e9),
    "loss.name": st.sampled_from(["triplet", "weighted_triplet"]),
    "evaluation.ks": st.lists(st.integers(0, 100), max_size=4),
    "budget.usd": st.none() | st.floats(0, 1e9),
    "teacher.model": TEXTS.filter(lambda text: text != "???"),
    "teacher.max_document_tokens": st.integers(1, 9999),
    "student.encoder.dropout": st.none() | st.floats(0, 1),
    "curriculum.fresh": st.booleans(),
}


@settings(max_examples=30, deadline=None)
@given(st.fixed_dictionaries({}, optional=VALUES))
def test_every_recipe_survives_the_way_to_yaml_and_back(values: dict[str, Any]) -> None:
    """What a run folder keeps must be what was run, whatever the values look like to YAML."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        node = tree
        *sections, last = key.split(".")
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(
            yaml.safe_dump(registry.literal(tree), allow_unicode=True, default_style='"'), encoding="utf-8"
        )
        recipe = load_recipe(str(path)).recipe
        flat = flatten(dataclasses.asdict(recipe))
        assert {key: flat[key] for key in values} == values
        path.write_text(to_yaml(recipe), encoding="utf-8")
        assert load_recipe(str(path)).recipe == recipe


@settings(max_examples=30, deadline=None)
@given(st.fixed_dictionaries({}, optional={k: v for k, v in VALUES.items() if k != "corpus.packages"}))
def test_overrides_set_what_they_say(values: dict[str, Any]) -> None:
    """Numbers and switches as JSON writes them; texts as they stand, where YAML leaves them text."""
    overrides, expected = [], {}
    for key, value in values.items():
        if isinstance(value, str):
            continue
        written = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
        overrides.append(f"{key}={written.replace('inf', '.inf')}")
        expected[key] = value
    flat = flatten(dataclasses.asdict(load_recipe("base/lmtx.yaml", overrides).recipe))
    assert {key: flat[key] for key in expected} == expected
