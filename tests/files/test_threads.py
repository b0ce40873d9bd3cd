from animdiff_cli.files.cpu_cores import Cores
from animdiff_cli.files.threads import SPIN, chosen_threads, prepare_threads


def test_threads_spin_briefly_unless_the_user_chose():
    environ = {"OMP_NUM_THREADS": "3"}
    assert prepare_threads(None, environ) is None
    assert environ == {"OMP_NUM_THREADS": "3", **SPIN}
    environ |= {"OMP_WAIT_POLICY": "ACTIVE"}
    del environ["GOMP_SPINCOUNT"], environ["KMP_BLOCKTIME"]
    prepare_threads(None, environ)
    assert environ == {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "ACTIVE"}


def test_a_number_of_threads_is_set(monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    environ = {"OMP_NUM_THREADS": "8"}
    assert prepare_threads(2, environ) == 2
    assert environ["OMP_NUM_THREADS"] == "2"


def test_there_is_one_thread_for_each_core_unless_the_user_chose(monkeypatch):
    monkeypatch.setattr("animdiff_cli.files.threads.usable_cores", lambda: Cores(6, "cores"))
    environ = {}
    prepare_threads(None, environ)
    assert environ["OMP_NUM_THREADS"] == "6"
    assert chosen_threads({}) == (6, "cores")
    assert chosen_threads({"OMP_NUM_THREADS": "2"}) == (2, "OMP_NUM_THREADS")
    assert chosen_threads({"OMP_NUM_THREADS": "2", "ANIMDIFF_THREADS": "3"}) == (3, "ANIMDIFF_THREADS")
    assert chosen_threads({"OMP_NUM_THREADS": "4,2"}) == (6, "cores")
