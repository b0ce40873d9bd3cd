import gc

import pytest

from animdiff_cli.core.garbage import collection_paused


def test_collection_is_paused_and_goes_on_after_an_error():
    with pytest.raises(ImportError), collection_paused():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()


def test_a_program_without_collection_stays_so():
    gc.disable()
    try:
        with collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
