"""Recipe files as layers: parents, overrides, origins, and files that are no recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmteach.errors import RecipeError
from lmteach.recipe import layers
from lmteach.recipe.layers import find_recipe, parse_override, read_layers, shipped_recipes


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write files into the working directory; returns the folder."""
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> Path:
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def as_tuples(layer: list[layers.Leaf]) -> list[tuple[str, object, str]]:
    return [(leaf.key, leaf.value, leaf.origin) for leaf in layer]


def test_leaves_carry_value_file_and_line(write) -> None:
    write(
        one="# a comment\n"
        "name: one\n"
        "\n"
        "corpus:\n"
        "  # another\n"
        "  n_dev: 7\n"
        "  packages: [a,\n"
        "    b]\n"
        "student:\n"
        "  encoder: {name: x, dropout: null}\n"
        "teacher: {}\n"
    )
    (first, overrides) = read_layers("one")
    assert as_tuples(first) == [
        ("name", "one", "one.yaml:2"),
        ("corpus.n_dev", 7, "one.yaml:6"),
        ("corpus.packages", ["a", "b"], "one.yaml:7"),
        ("student.encoder.name", "x", "one.yaml:10"),
        ("student.encoder.dropout", None, "one.yaml:10"),
        ("teacher", {}, "one.yaml:11"),
    ]
    assert overrides == []


def test_a_chain_of_parents_comes_farthest_first(write) -> None:
    write(child="extends: parent.yaml\nseed: 3", parent="extends: grand\nseed: 2\nname: p", grand="seed: 1\n")
    found = read_layers("child", ["seed=4"])
    assert [[leaf.value for leaf in layer if leaf.key == "seed"] for layer in found] == [[1], [2], [3], [4]]
    assert not any(leaf.key == "extends" for layer in found for leaf in layer)


@pytest.mark.parametrize(
    "files",
    [
        {"a": "extends: a"},
        {"a": "extends: b", "b": "extends: a"},
        {"a": "extends: ./b.yaml", "b": "extends: c", "c": "extends: a"},
    ],
)
def test_a_circle_of_parents_is_refused(write, files: dict[str, str]) -> None:
    write(**files)
    with pytest.raises(RecipeError, match=r"a\.yaml: `extends` goes in a circle"):
        read_layers("a")


def test_a_parent_is_looked_for_beside_its_child_first(tmp_path: Path, monkeypatch) -> None:
    for folder, seed in (("here", 1), ("there", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "parent.yaml").write_text(f"seed: {seed}")
    (tmp_path / "there" / "child.yaml").write_text("extends: parent")
    monkeypatch.chdir(tmp_path / "here")
    (layer, _, _) = read_layers("../there/child.yaml")
    assert layer[0].value == 2


def test_a_missing_parent_names_the_child(write) -> None:
    write(child="extends: base/lmtz.yaml")
    with pytest.raises(RecipeError, match=r"child\.yaml: `extends`: There is no recipe 'base/lmtz\.yaml'"):
        read_layers("child")


def test_a_path_wins_over_a_shipped_name(write) -> None:
    assert find_recipe("lmtx_quickstart").parent == layers.shipped_folder()
    write(lmtx_quickstart="seed: 1")
    assert find_recipe("lmtx_quickstart.yaml") == Path.cwd() / "lmtx_quickstart.yaml"


def test_an_unknown_recipe_gets_the_nearest_name(write) -> None:
    write()
    with pytest.raises(RecipeError, match=r"Did you mean 'lmtx_quickstart\.yaml'\?\n.*lmteach recipes"):
        read_layers("lmtx_quikstart")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").mkdir()
    with pytest.raises(RecipeError, match="There is no recipe"):
        read_layers(str(tmp_path / "x.yaml"))


def test_parents_are_not_listed_among_the_recipes() -> None:
    names = [path.name for path in shipped_recipes()]
    assert "lmtx_quickstart.yaml" in names
    assert names == sorted(names)
    assert "lmtx.yaml" not in names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nseed: 1\nname: y\n", r"x\.yaml:3: 'name' stands twice, first on line 1"),
        ("corpus:\n  n_dev: 1\n  n_dev: 2\n", r"x\.yaml:3: 'corpus\.n_dev' stands twice, first on line 2"),
        (
            "teacher:\n  members:\n  - name: a\n    name: b\n",
            r"x\.yaml:4: 'teacher\.members\.name' stands twice",
        ),
        ("name: [1, 2\nseed: 1\n", r"x\.yaml:2: This is not YAML"),
        ("name: 'open\n", r"x\.yaml:2: This is not YAML"),
        ("a: b: c\n", r"x\.yaml:1: This is not YAML: mapping values are not allowed here"),
        ("--- {a: 1}\n--- {a: 2}\n", r"x\.yaml:2: This is not YAML"),
        ("- a\n- b\n", r"x\.yaml: A recipe is a mapping of sections"),
        ("just some words\n", r"x\.yaml: A recipe is a mapping of sections"),
        ("17\n", r"x\.yaml: A recipe is a mapping of sections"),
        ("name: a\0b\n", r"x\.yaml: This recipe cannot be read: "),
        ("name: !!python/object/apply:os.getcwd []\n", r"x\.yaml:1: This is not YAML"),
        ("name: '${'\n", r"x\.yaml: This recipe cannot be read: "),
        ("extends: [a, b]\n", r"x\.yaml: `extends` names one parent"),
        ("corpus:\n  on: 1\n", r"x\.yaml:2: The key 'corpus\.on' is read as bool, not as text\.\n  .*'on'"),
        ("1: a\n", r"x\.yaml:1: The key '1' is read as int"),
    ],
)
def test_a_file_that_is_no_recipe_is_named_with_its_line(write, text: str, said: str) -> None:
    write(x=text)
    with pytest.raises(RecipeError, match=said):
        read_layers("x")


def test_a_file_of_other_bytes_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(RecipeError, match=r"x\.yaml: This recipe cannot be read: .*utf-8"):
        read_layers(str(tmp_path / "x.yaml"))


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_says_nothing(write, text: str) -> None:
    write(x=text)
    assert read_layers("x") == [[], []]


def test_merge_keys_bring_their_values(write) -> None:
    write(
        x="corpus: &both\n  n_dev: 5\n  n_test: 6\n"
        "training: {<<: *both, epochs: 2}\n"
        "search:\n  <<: [{n_kept: 1}, {n_kept: 2, n_judged: 3}]\n  n_judged: 4\n"
    )
    (layer, _) = read_layers("x")
    assert {leaf.key: leaf.value for leaf in layer} == {
        "corpus.n_dev": 5,
        "corpus.n_test": 6,
        "training.n_dev": 5,
        "training.n_test": 6,
        "training.epochs": 2,
        "search.n_kept": 1,
        "search.n_judged": 4,
    }


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("seed=5", "seed", 5),
        ("--seed=5", "seed", 5),
        ("-seed=5", "seed", 5),
        ("training.lr=1e-5", "training.lr", 1e-5),
        ("corpus.n_test=null", "corpus.n_test", None),
        ("training.drop_last=false", "training.drop_last", False),
        ("evaluation.ks=[1, 2]", "evaluation.ks", [1, 2]),
        ("teacher={name: oracle, noise: 0.1}", "teacher", {"name": "oracle", "noise": 0.1}),
        ("run.folder=a=b", "run.folder", "a=b"),
        ("teacher.prompt=x: y", "teacher.prompt", {"x": "y"}),
        ("a.b.c=--x", "a.b.c", "--x"),
        # Keys of text take text, whatever YAML would read into it.
        ("corpus.text={title}: {text}", "corpus.text", "{title}: {text}"),
        ("corpus.label_text={name}", "corpus.label_text", "{name}"),
        ("corpus.text='{title} {text}'", "corpus.text", "{title} {text}"),
        ("corpus.path=", "corpus.path", ""),
        ("name=2024", "name", "2024"),
        ("run.folder=null", "run.folder", "null"),
        ("corpus.separator=|", "corpus.separator", "|"),
        ("run.folder=@x", "run.folder", "@x"),
        ("run.folder='@x'", "run.folder", "@x"),
    ],
)
def test_overrides(text: str, key: str, value: object) -> None:
    assert parse_override(text) == layers.Leaf(key, value, "command line")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed", "'seed' is no override"),
        ("=5", "'=5' is no override"),
        ("--", "'--' is no override"),
        ("", "'' is no override"),
        ("seed=@x", "command line: 'seed=@x' cannot be read: found character"),
        ("seed=[1", "cannot be read"),
        ("seed=${", "cannot be read"),
        (
            "teacher.members[0].name=x",
            r"'teacher\.members\[0\]\.name' is a place within a list[^[]*\[\.\.\.\]",
        ),
    ],
)
def test_texts_that_are_no_overrides(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_override(text)
