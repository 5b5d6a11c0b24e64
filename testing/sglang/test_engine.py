"""A real sglang engine on the CPU keeps its pages in memkv servers."""

import os

import lives
import pytest


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return lives.make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def servers():
    both = [lives.Server(), lives.Server()]
    yield both
    for s in both:
        if s.process.poll() is None:
            assert s.stop() == 0


def same(a, b):
    assert a["output_ids"] == b["output_ids"]
    assert a["logprobs"] == pytest.approx(b["logprobs"], abs=1e-4)


def test_a_second_engine_answers_from_storage(model, servers):
    where = [s.address for s in servers]
    first = lives.Engine(model, where, tokens=600, page_size=64).result()
    second = lives.Engine(model, where, tokens=600, page_size=64).result()
    assert first["cached"] == 0
    assert second["cached"] == 576  # 9 whole pages of 64 tokens
    details = second["details"]
    assert details["device"] == 0 and details["host"] == 0, details
    same(first, second)


def test_other_weights_under_one_name_do_not_meet(model, servers, tmp_path):
    where = [s.address for s in servers]
    lives.Engine(model, where, tokens=600, page_size=64).result()
    other = lives.make_model(tmp_path / "other", seed=1)
    with_storage = lives.Engine(other, where, tokens=600, page_size=64)
    got = with_storage.result()
    alone = lives.Engine(other, None, tokens=600, page_size=64).result()
    assert got["cached"] == 0
    same(got, alone)


def test_a_killed_server_costs_only_what_it_held(model, servers):
    where = [s.address for s in servers]
    servers[0].kill()
    first = lives.Engine(model, where, tokens=600, seed=9, page_size=64).result()
    second = lives.Engine(model, where, tokens=600, seed=9, page_size=64).result()
    assert second["cached"] == 576
    same(first, second)
    back = lives.Server(listen=where[0])
    try:
        third = lives.Engine(model, where, tokens=600, seed=9, page_size=64).result()
        assert third["cached"] == 576
        same(first, third)
    finally:
        assert back.stop() == 0


def test_the_default_page_size_of_one(model, servers):
    where = [s.address for s in servers]
    first = lives.Engine(model, where, tokens=600).result()
    second = lives.Engine(model, where, tokens=600).result()
    assert second["cached"] == 599
    same(first, second)
    assert os.path.exists(lives.MEMKV)
