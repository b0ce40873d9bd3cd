from animdiff_cli.core.threads import SPIN, prepare_threads


def test_threads_spin_briefly_unless_the_user_chose():
    environ = {}
    assert prepare_threads(None, environ) is None
    assert environ == SPIN
    environ = {"OMP_WAIT_POLICY": "ACTIVE"}
    prepare_threads(None, environ)
    assert environ == {"OMP_WAIT_POLICY": "ACTIVE"}


def test_a_number_of_threads_is_set(monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    environ = {"OMP_NUM_THREADS": "8"}
    assert prepare_threads(2, environ) == 2
    assert environ["OMP_NUM_THREADS"] == "2"
