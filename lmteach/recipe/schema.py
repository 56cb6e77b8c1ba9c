"""What a recipe may say: one dataclass a section; defaults are the paper's (LMTX) where it names a value.

The sections that name a plugin (`teacher`, `student.encoder`, `student.head`, `loss`, `search.searcher`,
`curriculum`) are open mappings here; `load.py` merges them into the plugin's own `Config`, so their keys are just as
strict.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 1


@dataclass
class CorpusSection:
    """Which texts and labels. `name` finds a known set in the catalogue, `path` any folder or file."""

    name: str = ""
    path: str = ""
    format: Literal["auto", "jsonl", "csv", "parquet", "huggingface", "xmc", "pecos", "python-docs"] = "auto"
    text: str = "{text}"  # what a document's text is made of: any of its fields
    label_text: str = "{name}"  # what a label's text is made of: name, description
    separator: str = ";"  # between the labels in a cell of a csv file
    empty: Literal["error", "drop"] = (
        "error"  # of a document without text; dropped ones are counted in the log
    )
    packages: list[str] = field(default_factory=lambda: ["stdlib"])  # of python-docs
    n_train: int | None = None  # a random subset, drawn with the run's seed; None = all
    n_dev: int = 800  # taken from the training documents, unlabelled
    n_test: int | None = None  # a random subset, drawn with the run's seed; None = all
    seed: int | None = None  # of those draws; None = the run's: set it to vary the training alone
    test: Literal["test", "dev"] = "test"  # which of the set's own splits is held out to test on
    n_extra: int | None = 0  # of unlabelled documents beside the training ones (`unsup`, `extra`); None = all


@dataclass
class BackboneSection:
    """One frozen language model of a classifier, and which of its hidden states are features (LLMEmbed).

    `layers` count as transformers' `hidden_states` do: 0 is the embedding, -1 the last layer. `padded_mean` is
    the mean over `max_tokens` positions, padding included, as in the LLMEmbed authors' code.
    """

    model: str = ""  # as a teacher's: a hub name, a folder, package:NAME/PATH
    name: str = ""  # by which `backbones=` of predict knows it; empty = the model's last part
    layers: list[int] = field(default_factory=lambda: [-1])
    pooling: Literal["mean", "first", "last", "pooler", "padded_mean"] = "mean"
    max_tokens: int = 512
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    stored: Literal["fp16", "fp32"] = "fp16"  # how its vectors are kept


@dataclass
class FusionSection:
    """How the vectors of all backbones and layers become one (LLMEmbed, section 3)."""

    name: Literal["concat", "mean", "max", "cooccurrence"] = "concat"
    width: int | None = None  # vectors of another width are projected to it; None: `concat` takes any width
    dropout: float = 0.0  # after a projection
    sigma: float = 1.0  # of the power norm of `cooccurrence`
    base: str = ""  # backbone whose mean layer `cooccurrence` appends; empty = the first
    normalise: Literal["none", "standard", "l2"] = (
        "none"  # standard: by the training texts' mean and deviation
    )
    backbone_dropout: float = 0.0  # chance in training that a backbone is left out of a text


@dataclass
class LoraSection:
    """Low-rank adapters, where `student.tuning` is lora. Empty `targets`: what peft takes for the architecture."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    targets: list[str] = field(default_factory=list)


@dataclass
class StudentSection:
    """What learns: a tagger (bi-encoder over a label set) or a classifier (one score a class).

    A classifier is the `encoder` with a classification head, tuned in full or by LoRA, or a head on the frozen
    features of `backbones`.
    """

    kind: Literal["tagger", "classifier"] = "tagger"
    encoder: dict[str, Any] = field(default_factory=lambda: {"name": "transformers"})
    start: Literal["pretrained", "previous"] = "pretrained"  # where each cycle's training starts
    tuning: Literal["full", "lora", "frozen"] = "full"
    multilabel: bool = False  # any number of classes a document instead of exactly one
    lora: LoraSection = field(default_factory=LoraSection)
    backbones: list[BackboneSection] = field(default_factory=list)
    fusion: FusionSection = field(default_factory=FusionSection)
    head: dict[str, Any] = field(default_factory=lambda: {"name": "linear"})  # of a frozen classifier


@dataclass
class TrainingSection:
    """How a cycle's student is trained."""

    epochs: int = 1
    batch_size: int = 128  # of each device
    accumulate: int = 1  # batches whose gradients are summed before a step; negatives are those of one batch
    cached_batch: int | None = (
        None  # taggers: documents at a time in memory, of a larger batch_size; None = all
    )
    lr: float = 2e-4
    eps: float = 1e-6
    weight_decay: float = 0.0
    warmup_steps: int = 100
    gradient_clip: float | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where the machine is fast at it
    drop_last: bool = True
    schedule: Literal["linear", "constant"] = "linear"  # after the warm-up
    validation: float = 0.0  # classifiers: share of the labelled texts kept apart to choose the epoch by
    patience: int | None = None  # classifiers: epochs without a better validation loss; None = run them all


@dataclass
class WarmupSection:
    """Training on in-domain pairs (RTS, MACLR) before the first cycle, with the loss of `loss`."""

    teacher: dict[str, Any] = field(
        default_factory=dict
    )  # a section such as {name: segment}; empty = no warm-up
    epochs: int = 1
    lr: float | None = None  # None = training.lr


@dataclass
class SearchSection:
    """From a document to the labels that the teacher is asked about."""

    searcher: dict[str, Any] = field(default_factory=lambda: {"name": "auto"})
    n_retrieved: int = 300
    n_kept: int = 30
    n_judged: int = 10
    batch_tokens: int | None = (
        None  # padded tokens a forward while encoding; None: 2,048 on a CPU, 65,536 else
    )
    precision: Literal["auto", "fp32", "bf16"] = "auto"


@dataclass
class AnnotationSection:
    """How verdicts become positives.

    `threshold`: every label scored above `threshold` (the paper's yes is log-odds above 0).
    `quantile`: every label above the `quantile` of all scores of the cycle.
    `top`: a document's best label, kept for the `keep` share of documents whose best is furthest ahead.
    `ask` decides what of a label the teacher is shown: its whole `text`, as the student is, or its `name` alone.
    """

    ask: Literal["text", "name"] = "text"
    rule: Literal["threshold", "quantile", "top"] = "threshold"
    threshold: float = 0.0
    quantile: float = 0.8
    keep: float = 0.7


@dataclass
class ClassesSection:
    """How a teacher is asked for a document's class: all classes are its candidates.

    `names` says what a label is called before the teacher, where not by its own name.
    `descriptions` says what a label means; it stands in brackets behind the name where a prompt shows the classes.
    `prior` takes the teacher's own leaning off its log-probabilities: `contextual` what it says of texts without
    content (Zhao et al. 2021), `batch` its mean over all documents that are labelled (Zhou et al. 2023).
    `paraphrases` are prompts that are asked beside the teacher's own; their probabilities are averaged.
    """

    names: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    prior: Literal["none", "contextual", "batch"] = "none"
    content_free: list[str] = field(default_factory=lambda: ["N/A", "[MASK]", "..."])
    paraphrases: list[Any] = field(default_factory=list)


@dataclass
class NoiseSection:
    """What a classifier's training makes of labels that may be wrong. The defaults are LlamBERT's: nothing.

    `labels`: the teacher's best class alone, or its probabilities. `weights`: all alike, or by the teacher's
    margin. `drop`: leave out what confident learning (Northcutt et al. 2021) takes for mislabelled. Losses that bear
    errors are keys of `loss`.
    """

    labels: Literal["hard", "soft"] = "hard"
    weights: Literal["none", "confidence"] = "none"
    drop: Literal["none", "confident_learning"] = "none"


@dataclass
class CalibrationSection:
    """What a teacher's scores are worth, fitted in each cycle before the rule `threshold` cuts them.

    The truth is the gold of `documents` documents, or what `teacher` (a stronger one) says about them.
    """

    documents: int = 0  # of the cycle's, drawn with the run's seed; 0 = no calibration
    teacher: dict[str, Any] = field(default_factory=dict)  # a teacher's section; empty = gold
    method: Literal["platt", "temperature"] = "platt"
    precision: float | None = (
        0.9  # cut where it is reached; null: at annotation.threshold, in calibrated log-odds
    )


@dataclass
class DevSection:
    """The unlabelled documents whose teacher-judged P@1 picks the best cycle."""

    n_judged: int = 2


@dataclass
class EvaluationSection:
    """Metrics on held-out gold, read only after training."""

    ks: list[int] = field(default_factory=lambda: [1, 3, 5, 10])
    resamples: int = 1000  # of the bootstrap behind the 95% intervals
    propensity_a: float = (
        0.55  # A and B of PSP@k and PSnDCG@k (Jain et al. 2016); 0.5 and 0.4 for Wikipedia-500K,
    )
    propensity_b: float = 1.5  # 0.6 and 2.6 for Amazon-670K and Amazon-3M


@dataclass
class BudgetSection:
    """Caps on what labelling may spend in this run; None = no cap. Labelling stops cleanly at the first one."""

    judgements: int | None = None
    tokens: int | None = None
    usd: float | None = None
    hours: float | None = None


@dataclass
class TrainerSection:
    """Passed to `lightning.Trainer`. More than one device or node makes a run of as many processes (docs/scale.md).

    `timeout`: seconds that a rank waits for another within training; a teacher may take as long as it likes.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"  # of several devices: ddp; fsdp for encoders too big for one
    timeout: float = 1800.0


@dataclass
class RunSection:
    """Where the run writes. An empty `folder` means `runs/NAME`."""

    folder: str = ""
    store: str = "runs/store.sqlite"  # a SQLite file or an SQLAlchemy URL; shared by runs on purpose
    features: str = "runs/features"  # frozen backbones' vectors; shared by runs on purpose


@dataclass
class TrackingSection:
    """Where figures go besides the run folder. Nothing leaves the machine unless `wandb` is true.

    `wandb` sends the resolved recipe, metrics, and, as far as the two last keys let it, tables with texts of the
    corpus and files; without a key, or under WANDB_MODE=offline, it stays in the run folder.
    """

    wandb: bool = False
    project: str = "lmteach"
    entity: str = ""
    group: str = ""
    csv: bool = True
    tensorboard: bool = False
    table_rows: int = 200  # of shortlists and disagreements, a cycle; 0 = no tables
    artifacts: bool = True  # shortlists, annotations and the student, to W&B


@dataclass
class Recipe:
    """A whole recipe. `extends` is gone by the time this is built."""

    name: str = ""
    seed: int = 108
    supervision: Literal["gold", "teacher", "teacher_extra", "combined"] = "gold"  # a classifier's labels
    combine: Literal["sequential", "concat"] = (
        "sequential"  # of `combined`: the teacher's first, or all at once
    )
    paper: dict[str, float] = field(default_factory=dict)  # accuracy in print, by regime; shown beside ours
    corpus: CorpusSection = field(default_factory=CorpusSection)
    teacher: dict[str, Any] = field(default_factory=lambda: {"name": "transformers"})
    calibration: CalibrationSection = field(default_factory=CalibrationSection)
    annotation: AnnotationSection = field(default_factory=AnnotationSection)
    classes: ClassesSection = field(default_factory=ClassesSection)
    noise: NoiseSection = field(default_factory=NoiseSection)
    student: StudentSection = field(default_factory=StudentSection)
    loss: dict[str, Any] = field(
        default_factory=dict
    )  # without a name: weighted_triplet of a tagger, ce of a classifier
    training: TrainingSection = field(default_factory=TrainingSection)
    warmup: WarmupSection = field(default_factory=WarmupSection)
    search: SearchSection = field(default_factory=SearchSection)
    curriculum: dict[str, Any] = field(default_factory=lambda: {"name": "lmtx"})
    dev: DevSection = field(default_factory=DevSection)
    evaluation: EvaluationSection = field(default_factory=EvaluationSection)
    budget: BudgetSection = field(default_factory=BudgetSection)
    trainer: TrainerSection = field(default_factory=TrainerSection)
    run: RunSection = field(default_factory=RunSection)
    tracking: TrackingSection = field(default_factory=TrackingSection)
