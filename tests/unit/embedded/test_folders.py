import shutil
import stat

from mtdd_router.embedded.folders import scratch_folder


def test_a_scratch_folder_is_new_and_may_be_passed_by_others() -> None:
    first, second = scratch_folder("mtdd-unit-"), scratch_folder("mtdd-unit-")
    try:
        assert first != second
        assert not any(first.iterdir())
        assert stat.S_IMODE(first.stat().st_mode) == 0o711
    finally:
        shutil.rmtree(first)
        shutil.rmtree(second)
