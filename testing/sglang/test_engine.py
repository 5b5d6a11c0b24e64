"""A real sglang engine on the CPU keeps its pages in memkv servers.

Engines take long to begin, so each test begins the next one while the last one works.
"""

import os
import shutil

import lives
import pytest

WHOLE = 576  # of the 600 tokens of a prompt: 9 whole pages of 64


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models of one configuration and other weights."""
    folder = tmp_path_factory.mktemp("models")
    return [lives.make_model(folder / str(seed), seed) for seed in (0, 1)]


@pytest.fixture
def engine():
    """engine(model, servers, …): begins one that is ended with the test."""
    begun = []

    def begin(*args, **kwargs):
        begun.append(lives.Engine(*args, env=lives.PATIENT_ENV, **kwargs))
        return begun[-1]

    yield begin
    for e in begun:
        e.kill()


def is_same(a, b):
    return a["output_ids"] == b["output_ids"] and a["logprobs"] == pytest.approx(
        b["logprobs"], abs=1e-4
    )


def same(a, b, engine=None):
    """Both computed the same. Where not, what this engine computes anew tells pages from arithmetic."""
    if not is_same(a, b) and engine is not None:
        again = engine.ask()
        engine.flush()
        pytest.fail(
            "%s, right is %s; asked again %s; computed anew %s" % (a, b, again, engine.ask())
        )
    assert is_same(a, b), (a, b)


def from_storage(answer, tokens=WHOLE):
    assert (answer["cached"], answer["device"], answer["host"]) == (tokens, 0, 0)


def computed(answer):
    from_storage(answer, 0)


def test_tokens_are_those_of_a_run_without_storage_whatever_the_weights(
    models, servers, engine, tmp_path
):
    copy = shutil.copytree(models[0], tmp_path / "another place")
    alone = engine(models[0], None, page_size=64)
    first = engine(str(copy), servers, page_size=64)
    right = [alone.ask()]
    second = engine(models[0], servers, page_size=64)
    alone.update(models[1])
    right.append(alone.ask())
    alone.end()
    assert right[0]["output_ids"] != right[1]["output_ids"]

    answer = first.ask()
    computed(answer)
    same(answer, right[0], first)
    lives.wait_for_objects(servers, 9)
    third = engine(models[1], servers, page_size=64)

    # The same weights in another folder, by another process.
    answer = second.ask()
    from_storage(answer)
    same(answer, right[0], second)

    # Updated while it runs: what is stored by then is another model's.
    second.update(models[1])
    answer = second.ask()
    computed(answer)
    same(answer, right[1], second)
    lives.wait_for_objects(servers, 18)
    second.flush()
    answer = second.ask()
    from_storage(answer)
    same(answer, right[1], second)
    second.end()

    # Begun on the other weights, under the same name: its own pages and no others.
    answer = third.ask()
    from_storage(answer)
    same(answer, right[1], third)
    third.update(models[0])
    answer = third.ask()
    from_storage(answer)
    same(answer, right[0], third)
    third.end()

    # Written over in place: the engine does not say which weights it has, so nothing is used.
    weights = copy / "model.safetensors"
    before = os.stat(weights)
    weights.write_bytes((lives.pathlib.Path(models[1]) / "model.safetensors").read_bytes())
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    first.update(str(copy))
    answer = first.ask()
    computed(answer)
    same(answer, right[1], first)
    assert "the model's files have changed" in first.log_text()
    first.flush()
    computed(first.ask())
    assert lives.objects(servers) == 18
    # With a version it does say so, and pages are stored again.
    first.update(str(copy), "2")
    answer = first.ask()
    computed(answer)
    same(answer, right[1], first)
    lives.wait_for_objects(servers, 27)
    first.flush()
    answer = first.ask()
    from_storage(answer)
    same(answer, right[1], first)
    first.end()


def test_a_killed_server_costs_only_what_it_held(models, servers, engine):
    first = engine(models[0], servers, page_size=64)
    second = engine(models[0], servers, page_size=64)
    right = first.ask(seed=9)
    lives.wait_for_objects(servers, 9)
    servers[0].kill()
    answer = first.ask(seed=10)
    computed(answer)
    lives.wait_for_objects(servers, 9)  # all of it at the one that lives
    first.end()
    answer_2 = second.ask(seed=10)
    from_storage(answer_2)
    same(answer, answer_2)
    same(right, second.ask(seed=9))  # part of it, or nothing: never anything else
    servers[0] = lives.Server(listen=servers[0].address)
    second.flush()
    answer_3 = second.ask(seed=10)
    from_storage(answer_3)
    same(answer, answer_3)
    second.end()


def test_the_default_page_size_of_one_and_two_names(models, servers, engine):
    first = engine(models[0], servers)
    second = engine(models[0], servers, extra={"memkv": {"namespace": "ours"}})
    answer = first.ask()
    computed(answer)
    lives.wait_for_objects(servers, 599)
    first.flush()
    again = first.ask()
    from_storage(again, 599)
    same(answer, again)
    assert "page of 1 tokens, 512 bytes an object" in first.log_text()
    assert "prefetch from 256 tokens" in first.log_text()
    assert "--page-size 64 is faster" in first.log_text()
    first.end()
    answer_2 = second.ask()
    computed(answer_2)  # of another namespace
    same(answer, answer_2)
    second.end()
