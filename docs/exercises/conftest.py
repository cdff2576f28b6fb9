"""Which functions are tested: those of yours/, or with --solutions those of solutions/."""

import sys
from pathlib import Path


def pytest_addoption(parser):
    parser.addoption("--solutions", action="store_true", help="test solutions/ in place of yours/")


def pytest_configure(config):
    sys.path.insert(0, str(Path(__file__).parent / ("solutions" if config.option.solutions else "yours")))
