import balancing
import pytest


@pytest.mark.parametrize(
    ("on_reals", "on_fakes", "moves"),
    [
        (0.6, 0.6, (True, True)),  # level
        (0.2, 0.6, (False, True)),  # D knows the reals too well
        (0.6, 0.2, (False, True)),
        (0.5, 0.9, (True, False)),  # G fools D too often
        (0.9, 0.5, (True, False)),
        (0.1, 0.9, (True, True)),  # both would wait
    ],
)
def test_who_is_ahead_waits_unless_both_would(on_reals, on_fakes, moves):
    assert balancing.who_moves(on_reals, on_fakes, 0.3) == moves


def test_the_weight_follows_the_error_of_g():
    assert balancing.next_weight(5e-5, 1.4) == pytest.approx(6e-5)
    assert balancing.next_weight(5e-5, 1.1) == pytest.approx(5e-5)
    assert balancing.next_weight(5e-5, 0.5) == pytest.approx(4e-5)
    assert balancing.next_weight(0.0, 0.5) == 0
