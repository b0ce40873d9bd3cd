from hypothesis import given
from hypothesis import strategies as st

from animdiff_cli.training.data.sample_schedule import SampleSchedule, positions_of

counts = st.integers(1, 12)


@given(clips=counts, seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 5))
def test_every_epoch_visits_every_clip_once(clips, seed, epoch):
    schedule = SampleSchedule(clips, seed=seed)
    taken = [schedule.at(position).index for position in range(epoch * clips, (epoch + 1) * clips)]
    assert sorted(taken) == list(range(clips))


@given(clips=counts, variants=st.integers(1, 4), seed=st.integers(0, 99))
def test_as_many_epochs_as_variants_visit_every_variant_of_every_clip(clips, variants, seed):
    schedule = SampleSchedule(clips, variants, seed)
    seen = {(schedule.at(p).index, schedule.at(p).variant) for p in range(clips * variants)}
    assert seen == {(index, variant) for index in range(clips) for variant in range(variants)}


@given(clips=counts, variants=st.integers(1, 4), first=st.integers(0, 50), length=st.integers(0, 20))
def test_pairs_are_those_of_the_samples_at_these_positions(clips, variants, first, length):
    schedule = SampleSchedule(clips, variants, seed=3)
    positions = range(first, first + length)
    assert schedule.pairs(positions) == list(
        dict.fromkeys((schedule.at(position).index, schedule.at(position).variant) for position in positions)
    )


@given(step=st.integers(0, 9), batch=st.integers(1, 3), accumulation=st.integers(1, 3), world=st.integers(1, 4))
def test_processes_share_the_samples_of_one_process(step, batch, accumulation, world):
    def taken(batch, accumulation, world):
        return [
            [p for rank in range(world) for p in positions_of(step, micro, batch, accumulation, rank, world)]
            for micro in range(accumulation)
        ]

    assert taken(batch, accumulation, world) == taken(batch * world, accumulation, 1)


def test_random_numbers_differ_by_sample_and_seed():
    first, second = SampleSchedule(4, seed=1), SampleSchedule(4, seed=2)
    noise = {schedule.at(position).noise_seed for schedule in (first, second) for position in range(100)}
    assert len(noise) == 200
    assert first.at(17) == SampleSchedule(4, seed=1).at(17)


def test_captions_are_dropped_at_the_requested_rate():
    dropped = sum(SampleSchedule(4, caption_dropout=0.1).at(position).drop_caption for position in range(5000))
    assert 400 < dropped < 600
    assert not any(SampleSchedule(4).at(position).drop_caption for position in range(100))


def test_a_share_of_samples_is_trained_from_pure_noise():
    schedule, plain = SampleSchedule(4, from_noise=0.25), SampleSchedule(4)
    hidden = [schedule.at(position) for position in range(2000) if schedule.at(position).from_noise]
    assert 400 < len(hidden) < 600
    assert {sample.timestep // 100 for sample in hidden} == {9}
    assert not any(plain.at(position).from_noise for position in range(100))
