"""What is asked of a pair: reproducible from its key, never the same twice, and not to be told from what was asked."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from actors.draws import KeyedRandom, draw, share
from actors.messages import Layout
from tests.actors.model_files import plan

CAPTIONS = tuple(tuple(f"caption {row}, way {way}" for way in range(3)) for row in range(120))


def drawn(layout=Layout.INTERLEAVED, captions=CAPTIONS, **changes):
    return draw(captions, plan(**{"batches": 4, "repeats": 2, "warmup_at_most": 3, **changes}), layout)


def every_batch(one):
    first_calls = [batch for start in (*one.warmup, *one.burn_in) for batch in start]
    return [*first_calls, *one.timed, one.profile, *one.alone, *one.stretches]


def questions(one):
    return {request for batch in every_batch(one) for request in zip(batch.prompts, batch.seeds, strict=True)}


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.integers(1, 3), st.text())
def test_prompts_are_cut_into_batches_and_none_comes_twice(batches, warmup, repeats, starts, size, key):
    numbers = {"batches": batches, "repeats": repeats, "starts": starts, "burn_in": 2, "stretches": 3}
    one = drawn(**numbers, warmup_at_most=warmup, batch_size=size, key=key)
    assert (len(one.timed), len(one.other_seeds), len(one.stretches)) == (batches + repeats, size, 3)
    assert [len(calls) for calls in one.warmup] == [warmup] * starts
    assert [len(calls) for calls in one.burn_in] == [2] * starts
    rows = [prompt.split(",")[0] for batch in every_batch(one) for prompt in batch.prompts]
    assert len(set(rows)) == len(rows) == size * len(every_batch(one))
    assert all(len(set(batch.seeds)) == size for batch in every_batch(one))


def test_a_key_draws_the_same_again():
    assert drawn() == drawn()


def test_another_pair_attempt_or_layout_is_asked_other_questions_in_another_order():
    others = [drawn(), drawn(key="another pair"), drawn(key=plan().afresh("once more").key), drawn(Layout.BLOCKS)]
    assert len(set().union(*map(questions, others))) == sum(len(questions(one)) for one in others)
    assert len({one.order for one in others}) == len(others)
    assert plan().afresh("once more").key != plan().afresh("another actor").key


def test_each_block_pair_has_first_calls_of_its_own():
    one = drawn(Layout.BLOCKS, batches=16, starts=1, burn_in=1)
    assert (len(one.warmup), len(one.burn_in)) == (4, 4)
    assert len(drawn(Layout.BLOCKS, batches=3).warmup) == 3


def test_parts_share_batches_out_evenly():
    assert [share(10, 4, part) for part in range(4)] == [3, 3, 2, 2]


def test_where_captions_are_few_they_come_again_with_other_seeds():
    one = drawn(captions=CAPTIONS[:5])
    assert len(questions(one)) == 2 * len(every_batch(one))


def test_the_keyed_generator_is_fair_and_has_no_state_that_its_numbers_show():
    generator = KeyedRandom("key")
    counts = Counter(generator.randrange(3) for _ in range(3000))
    assert min(counts.values()) > 850
    assert 0.45 < sum(generator.random() for _ in range(1000)) / 1000 < 0.55
    assert generator.getrandbits(300) >> 290
    assert [KeyedRandom("a").random(), KeyedRandom("b").random()] != [KeyedRandom("a").random()] * 2
