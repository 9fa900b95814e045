"""Backscatter between linear power and decibels."""

from __future__ import annotations

import numpy as np


def to_db(power: np.ndarray) -> np.ndarray:
    """10 * log10(power), float32 of the same shape; NaN where power is not above 0 or missing."""
    positive = np.where(power > 0, power, np.float32(np.nan))
    decibels: np.ndarray = (10.0 * np.log10(positive, dtype=np.float64)).astype(np.float32)
    return decibels


def to_linear(decibels: np.ndarray) -> np.ndarray:
    """10 ** (dB / 10), float32 of the same shape, NaN where missing."""
    power: np.ndarray = (10.0 ** (decibels.astype(np.float64) / 10.0)).astype(np.float32)
    return power


def convert_unit(values: np.ndarray, *, source: str, target: str) -> np.ndarray:
    """Values in `target`: linear and db into each other, everything else as it is.

    Raises ValueError where one is backscatter and the other is not.
    """
    pair = source, target
    if source == target:
        return values
    if pair == ("linear", "db"):
        return to_db(values)
    if pair == ("db", "linear"):
        return to_linear(values)
    if {"linear", "db"} & set(pair):
        raise ValueError(f"values in {source!r} cannot be given in {target!r}: only linear and db turn into each other")
    return values
