"""The settings of a process that works on videos are in force while it does, and restored afterwards."""

from __future__ import annotations

import sys

import cv2
import pytest

from captionacc_dagster.captioning.video.process_settings import SWITCH_INTERVAL_S, video_process_settings

pytestmark = pytest.mark.unit


def settings() -> tuple[float, int]:
    return round(sys.getswitchinterval(), 6), cv2.getNumThreads()


@pytest.fixture
def usual() -> tuple[float, int]:
    cv2.setNumThreads(2)
    assert sys.getswitchinterval() > SWITCH_INTERVAL_S
    return settings()


def test_settings_are_restored(usual: tuple[float, int]):
    with video_process_settings():
        assert settings() == (SWITCH_INTERVAL_S, 1)
    assert settings() == usual


def test_settings_are_restored_after_an_error(usual: tuple[float, int]):
    with pytest.raises(OSError, match="no room"), video_process_settings():
        raise OSError("no room")
    assert settings() == usual


def test_settings_stay_until_the_last_user_leaves(usual: tuple[float, int]):
    first, second = video_process_settings(), video_process_settings()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert settings() == (SWITCH_INTERVAL_S, 1)
    second.__exit__(None, None, None)
    assert settings() == usual


def test_a_shorter_switch_interval_stays():
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S / 10)
    try:
        with video_process_settings():
            assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S / 10)
    finally:
        sys.setswitchinterval(usual_s)
