"""What every stage must do, wherever its target lives. A new one is added to STAGES and nothing else."""

import time

import pytest

from embodied.config import Natural, recipe
from embodied.runtime.stage import LocalStage, ProcessStage


def in_a_process(recipe):
    stage = ProcessStage(recipe)
    try:
        stage.ready()
    except BaseException:
        stage.close()
        raise
    return stage


STAGES = {"local": LocalStage, "process": in_a_process}
WAIT_S = 60.0


class Counter:
    def __init__(self, start, folder):
        self.total, self.folder = start, folder

    def add(self, number, *, times=1):
        self.total += number * times
        return self.total

    def add_slowly(self, number):
        time.sleep(0.2)
        return self.add(number)

    def fail(self):
        raise ValueError(f"stuck at {self.total}")

    def close(self):
        if self.folder:
            with open(f"{self.folder}/closed", "a") as file:
                file.write(f"{self.total};")


@recipe
class CounterRecipe:
    start: Natural = 5
    folder: str = ""  # where closing is noted

    def build(self):
        if self.start == 13:
            raise ValueError("thirteen is refused")
        return Counter(self.start, self.folder)


@pytest.fixture(params=STAGES)
def kind(request):
    return STAGES[request.param]


@pytest.fixture
def stage(kind):
    stage = kind(CounterRecipe())
    yield stage
    stage.close()


def test_a_call_returns_what_the_method_returns(stage):
    assert stage.call(Counter.add, 2, times=3).result(timeout=WAIT_S) == 11


def test_calls_run_one_at_a_time_and_in_order(stage):
    futures = [stage.call(Counter.add_slowly, 1), stage.call(Counter.add, 10), stage.call(Counter.add, 100)]
    assert [future.result(timeout=WAIT_S) for future in futures] == [6, 16, 116]


def test_a_call_does_not_wait(stage):
    began = time.monotonic()
    future = stage.call(Counter.add_slowly, 1)
    assert time.monotonic() - began < 0.15
    assert not future.done()
    assert future.result(timeout=WAIT_S) == 6


def test_an_error_reaches_the_caller_and_the_stage_goes_on(stage):
    with pytest.raises(ValueError, match="stuck at 5"):
        stage.call(Counter.fail).result(timeout=WAIT_S)
    assert stage.call(Counter.add, 1).result(timeout=WAIT_S) == 6


def test_a_recipe_that_cannot_be_built_says_so_at_once(kind):
    with pytest.raises(ValueError, match="thirteen is refused"):
        kind(CounterRecipe(start=13))


def test_closing_finishes_what_was_called_and_closes_the_target(kind, tmp_path):
    stage = kind(CounterRecipe(folder=str(tmp_path)))
    stage.call(Counter.add_slowly, 1)
    stage.close()
    assert (tmp_path / "closed").read_text() == "6;"
