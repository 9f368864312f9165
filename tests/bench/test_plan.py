"""The plan of a run: what is measured, on which servers, and how long it takes."""

from __future__ import annotations

from observability.bench.compiler import Programs
from observability.bench.contenders import Contender, all_contenders
from observability.bench.measures import MEASURES
from observability.bench.plan import QUICK_BUDGET_SECONDS, Options, PlannedVisit, make_plan
from observability.bench.snapshots import STREAM_PATH, Snapshot

SNAPSHOT = Snapshot(2000, 0, STREAM_PATH, b"{}")
CONTENDERS: list[Contender] = all_contenders(Programs(None, None))


def measures(plan: list[PlannedVisit]) -> set[str]:
    return {step.case(SNAPSHOT).measure for visit in plan for step in visit.steps}


def servers(plan: list[PlannedVisit]) -> set[str]:
    return {contender.key for visit in plan for contender in visit.contenders}


def test_a_quick_run_and_a_full_one_take_every_measure() -> None:
    for options in (Options(), Options(is_quick=True)):
        assert measures(make_plan(options, CONTENDERS)) == MEASURES.keys()


def test_a_round_of_a_quick_run_fits_into_its_budget() -> None:
    plan = make_plan(Options(is_quick=True), CONTENDERS)
    assert sum(visit.seconds for visit in plan) < QUICK_BUDGET_SECONDS


def test_only_chosen_measures_are_taken() -> None:
    assert measures(make_plan(Options(only=("storm", "rest")), CONTENDERS)) == {"storm", "rest"}


def test_only_chosen_servers_are_visited() -> None:
    assert servers(make_plan(Options(servers=("floor", "nginx")), CONTENDERS)) == {"floor", "nginx"}


def test_ours_stands_for_every_broadcast_engine() -> None:
    found = servers(make_plan(Options(servers=("ours",), only=("fanout",)), CONTENDERS))
    assert found == {"ours-picows", "ours-uring"}


def test_a_quick_run_takes_the_longer_measures_on_few_servers() -> None:
    assert servers(make_plan(Options(is_quick=True, only=("storm",)), CONTENDERS)) == {"floor", "ours-uring", "fastapi"}


def test_a_quick_run_takes_every_measure_before_it_visits_all_peers() -> None:
    plan = make_plan(Options(is_quick=True), CONTENDERS)
    assert measures(plan[:-1]) == MEASURES.keys()
    assert "aiohttp" in servers(plan[-1:]) - servers(plan[:-1])


def test_peers_are_measured_at_one_size_unless_sizes_are_chosen() -> None:
    def sizes(options: Options) -> set[int | None]:
        return {visit.size for visit in make_plan(options, CONTENDERS) if "aiohttp" in servers([visit])}

    assert sizes(Options(only=("fanout",))) == {2000}
    assert sizes(Options(only=("fanout",), sizes=(1000, 64_000))) == {1000, 64_000}


def test_several_workers_are_measured_beside_one_process() -> None:
    (visit,) = make_plan(Options(only=("workers",), servers=("ours",)), CONTENDERS)
    one, several, *_ = visit.contenders
    assert (one.processes, several.processes) == (1, 3)


def test_the_floor_has_its_turn_before_the_others() -> None:
    for visit in make_plan(Options(), CONTENDERS):
        keys = [contender.key for contender in visit.contenders]
        assert "floor" not in keys[1:]
    assert "floor" in servers(make_plan(Options(), CONTENDERS)[:1])
