"""Marks that skip tests whose optional package is not installed."""

import pytest

from engines import quantize

needs_nncf = pytest.mark.skipif(not quantize.available(), reason="needs the extra quantize")
