"""Budgets, meters, prices and energy counters."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmteach.errors import RecipeError
from lmteach.recipe.schema import BudgetSection
from lmteach.teaching.cost import Budget, Counters, Meter, Spent, subtract, total_usage
from lmteach.teaching.energy import EnergyMeter
from lmteach.teaching.prices import SHIPPED, PriceTable
from lmteach.types import Usage, Verdict


class TestBudget:
    def test_no_cap_is_never_reached(self) -> None:
        budget = Budget()
        budget.charge(10**9, Usage(10**12, 10**9, usd=1e9), 1e9)
        assert not budget.capped
        assert budget.reached() is None
        assert budget.room() == (float("inf"), "")

    @pytest.mark.parametrize(
        ("name", "cap", "usage", "seconds"),
        [
            ("judgements", 20, Usage(), 0.0),
            ("tokens", 60, Usage(25, 5), 0.0),
            ("usd", 0.5, Usage(usd=0.25), 0.0),
            ("hours", 2.0, Usage(), 3600.0),
        ],
    )
    def test_each_cap_is_reached_and_named(self, name: str, cap: float, usage: Usage, seconds: float) -> None:
        budget = Budget(**{name: cap})  # type: ignore[arg-type]
        assert budget.capped
        budget.charge(10, usage, seconds)
        assert budget.reached() is None
        assert budget.room() == (10, f"budget.{name} = {cap}"), "half is spent on ten pairs"
        budget.charge(10, usage, seconds)
        assert budget.reached() == f"budget.{name} = {cap}"

    def test_the_tightest_cap_counts(self) -> None:
        budget = Budget(judgements=100, tokens=1000, usd=5.0)
        budget.charge(10, Usage(90, 10, usd=0.1), 0.0)
        assert budget.room() == (90, "budget.judgements = 100")
        budget.charge(0, Usage(450), 0.0)
        assert budget.room()[1] == "budget.tokens = 1000"

    def test_what_was_spent_before_counts(self) -> None:
        assert Budget(judgements=5, spent=Spent(judgements=5)).reached() == "budget.judgements = 5"
        assert Budget(usd=1.0, spent=Spent(usd=2.0)).room()[0] == 0

    def test_spent_goes_through_a_file(self) -> None:
        budget = Budget(judgements=5)
        budget.charge(3, Usage(7, 1, usd=0.5), 36.0)
        assert Spent(**budget.spent.as_dict()) == Spent(3, 8, 0.5, 0.01)  # type: ignore[arg-type]

    @given(st.integers(0, 1000), st.integers(0, 1200), st.integers(1, 7), st.floats(0, 10))
    def test_shares_add_up_to_what_is_left(self, cap: int, spent: int, n: int, usd: float) -> None:
        budget = Budget(judgements=cap, usd=usd, hours=3.0, spent=Spent(judgements=spent, hours=1.0))
        shares = [budget.share(rank, n) for rank in range(n)]
        assert sum(s.judgements or 0 for s in shares) == max(0, cap - spent)
        assert sum(s.usd or 0 for s in shares) == pytest.approx(usd)
        assert all(s.tokens is None and s.hours == 2.0 for s in shares)
        assert max(s.judgements or 0 for s in shares) - min(s.judgements or 0 for s in shares) <= 1

    def test_it_has_the_recipes_keys(self) -> None:
        assert set(vars(BudgetSection())) == set(Spent().as_dict())
        assert Budget(**vars(BudgetSection())) == Budget()


def test_counters_subtract() -> None:
    counters = Counters(5, 2, 1, Usage(10, 1, 0.5, 0.25, 3.0))
    before = counters.copy()
    counters.made += 4
    counters.usage += Usage(2, 2, 1.0, 0.5, 1.5)
    assert counters - before == Counters(4, 0, 0, Usage(2, 2, 1.0, 0.5, 1.5))
    assert before.made == 5
    assert subtract(Usage(1), Usage()).joules is None


def test_total_usage_keeps_unmeasured_energy_apart_from_none_used() -> None:
    assert total_usage([Verdict((1.0,), usage=Usage(1)), Verdict((1.0,), usage=Usage(2))]) == Usage(3)
    assert total_usage([Verdict((), usage=Usage(joules=0.0)), Verdict(())]).joules == 0.0


class TestMeter:
    def test_time_and_money_are_shared_by_pairs(self) -> None:
        meter = Meter(usd_an_hour=36.0)
        meter.start()
        time.sleep(0.02)
        one, none, two = meter.share([Verdict((1.0,)), None, Verdict((1.0, 2.0, 3.0))])
        assert none is None
        assert one is not None
        assert two is not None
        assert one.usage.seconds + two.usage.seconds == pytest.approx(0.02, rel=0.5)
        assert two.usage.seconds == pytest.approx(3 * one.usage.seconds)
        assert one.usage.usd == pytest.approx(one.usage.seconds * 0.01)
        assert one.usage.joules is None

    def test_what_the_teacher_says_itself_stands(self) -> None:
        meter = Meter(usd_an_hour=36.0)
        meter.start()
        said = Verdict((1.0,), usage=Usage(5, 1, 9.0, 0.5, 2.0))
        assert meter.share([said, Verdict((1.0,))])[0] == said

    def test_energy_is_shared(self, tmp_path: Path) -> None:
        package = some_package(tmp_path, 1_000_000)
        meter = Meter(energy=EnergyMeter.find(tmp_path))
        (package / "energy_uj").write_text("5000000")
        meter.start()
        (package / "energy_uj").write_text("9000000")
        verdicts = meter.share([Verdict((1.0,)), Verdict((1.0, 1.0, 1.0))])
        assert [v.usage.joules for v in verdicts if v] == [1.0, 3.0]


class TestPrices:
    def test_the_shipped_table_is_sound_and_dated(self) -> None:
        table = PriceTable.load()
        assert table.dated >= "2026-01-01"
        assert all(0 < p.input <= p.output for p in table.models.values())
        assert all(price > 0 for price in table.machines.values())

    def test_a_call_costs_its_tokens(self) -> None:
        price = PriceTable.load().model("gpt-4o-mini")
        assert price is not None
        assert price.usd(Usage(1_000_000, 500_000)) == pytest.approx(0.15 + 0.30)

    @pytest.mark.parametrize(
        ("name", "family"),
        [
            ("gpt-4o-mini", "gpt-4o-mini"),
            ("openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
            ("GPT-4o-2024-11-20", "gpt-4o"),
            ("gpt-5-nano", "gpt-5-nano"),
            ("gpt-5-pro", None),
            ("gpt-5.4", None),
            ("my-finetune", None),
        ],
    )
    def test_names_find_their_family_and_no_other(self, name: str, family: str | None) -> None:
        table = PriceTable.load()
        assert table.model(name) == (table.models[family] if family else None)

    def test_machines_are_found_in_driver_names(self) -> None:
        table = PriceTable.load()
        assert table.machine("NVIDIA H100 80GB HBM3") == table.machines["h100"]
        assert table.machine("NVIDIA L4") == table.machines["l4"]
        assert table.machine("NVIDIA L40S") == table.machines["l40s"]
        assert table.machine("cpu-core") == table.machines["cpu-core"]
        assert table.machine("abacus") is None

    def test_an_override_lies_over_the_shipped_table(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(
            "dated: 2027-01-01\nmodels:\n  gpt-4o-mini: {input: 1, output: 2}\n"
            "  ours: {input: 0, output: 0}\n"
        )
        table = PriceTable.load(path)
        assert table.models["gpt-4o-mini"].output == 2
        assert table.models["gpt-4o"] == PriceTable.load().models["gpt-4o"]
        assert table.model("ours") is not None
        assert "mine.yaml of 2027-01-01" in table.dated

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("models: [", "cannot be read"),
            ("- a", "has the keys"),
            ("models: {}", "has the keys"),
            ("dated: x\nmodles: {}", "has the keys"),
            ("dated: x\nmodels: {a: {input: 1}}", "'output' of 'a' is None"),
            ("dated: x\nmodels: {a: {input: -1, output: 1}}", "'input' of 'a' is -1"),
            ("dated: x\nmachines: {a: free}", "'a' of 'a' is 'free'"),
        ],
    )
    def test_a_bad_table_is_refused(self, tmp_path: Path, text: str, said: str) -> None:
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        with pytest.raises(RecipeError, match=said):
            PriceTable.load(path)
        with pytest.raises(RecipeError, match="cannot be read"):
            PriceTable.load(tmp_path / "none.yaml")

    def test_the_table_is_package_data(self) -> None:
        assert SHIPPED.is_file()


def some_package(folder: Path, span: int, name: str = "intel-rapl:0") -> Path:
    package = folder / name
    package.mkdir(parents=True)
    (package / "max_energy_range_uj").write_text(f"{span}\n")
    (package / "energy_uj").write_text("0\n")
    return package


class TestEnergy:
    @given(st.lists(st.integers(0, 999_999), max_size=20))
    def test_a_counter_that_begins_anew_goes_on(
        self, tmp_path_factory: pytest.TempPathFactory, steps: list[int]
    ) -> None:
        folder = tmp_path_factory.mktemp("rapl")
        package = some_package(folder, 1_000_000)
        meter = EnergyMeter.find(folder)
        assert meter is not None
        position = 0
        for step in steps:
            position = (position + step) % 1_000_000
            (package / "energy_uj").write_text(str(position))
            assert meter.lap() == pytest.approx(step / 1e6)

    def test_packages_add_up_and_their_parts_do_not(self, tmp_path: Path) -> None:
        packages = [some_package(tmp_path, 10**9, f"intel-rapl:{i}") for i in range(2)]
        part = some_package(tmp_path, 10**9, "intel-rapl:0:0")
        meter = EnergyMeter.find(tmp_path)
        assert meter is not None
        for package in (*packages, part):
            (package / "energy_uj").write_text("2000000")
        assert meter.lap() == 4.0
        assert meter.lap() == 0.0

    def test_a_machine_without_counters_has_no_meter(self, tmp_path: Path) -> None:
        if Path("/proc/driver/nvidia").exists():
            pytest.skip("this machine has a GPU that can be measured")
        assert EnergyMeter.find(tmp_path) is None
        (tmp_path / "intel-rapl:0").mkdir()
        assert EnergyMeter.find(tmp_path) is None

    @pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux", reason="no C compiler")
    def test_gpus_are_read_by_the_drivers_library(self, tmp_path: Path) -> None:
        """A library with the driver's symbols: two GPUs, of which the second cannot measure."""
        (tmp_path / "nvml.c").write_text(
            "static unsigned long long used = 1000;\n"
            "int nvmlInit_v2(void) { return 0; }\n"
            "int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }\n"
            "int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) {\n"
            "  *d = (void *)(long)(i + 1); return 0; }\n"
            "int nvmlDeviceGetTotalEnergyConsumption(void *d, unsigned long long *mj) {\n"
            "  if ((long)d != 1) return 3;\n  used += 2500; *mj = used; return 0; }\n"
        )
        library = tmp_path / "libnvidia-ml.so.1"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
        script = (
            "from pathlib import Path\nfrom lmteach.teaching.energy import EnergyMeter\n"
            "meter = EnergyMeter.find(Path('none'))\nprint(meter.lap(), meter.lap())"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == ["2.5", "2.5"]
