"""What a network's encoder computes in: settled when it is made, and kept up with its weights."""

from __future__ import annotations

import logging
from abc import abstractmethod
from typing import Any

import torch
from torch import nn

from learned_index.encoders.chunked_file import Progress
from learned_index.encoders.transformer.devices import AnyPrecision, Precision, choose_precision
from learned_index.encoders.transformer.int8 import Int8Network, why_not_int8
from learned_index.encoders.transformer.tokens import Tokens
from learned_index.errors import InputError, MissingExtraError
from learned_index.types import Float32Array, Int64Array

logger = logging.getLogger(__name__)

TEXTS_WORTH_A_DIGEST = 64
"""From so many on, the weights themselves are compared with those of the int8 graph."""


class Int8Capable(nn.Module):
    """The part of a network's encoder that can compute in int8 instead of torch.

    Attributes:
        precision: What it computes in.
        precision_reason: Why, in words.
    """

    name: str
    precision: Precision
    precision_reason: str
    _int8: Int8Network | None = None

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the parameters are."""

    def _settle_precision(self, wanted: AnyPrecision) -> str:
        """Turn float32 into int8 where ``"auto"`` may; return why the precision is what it is."""
        if wanted != "auto":
            if self.precision == "int8":
                self._int8_network()
            return "as asked for"
        reason = "the device multiplies it natively"
        if self.precision == "float32":
            reason = self._why_not_int8()
            if not reason:
                try:
                    self._int8_network()
                    self.precision = "int8"
                    reason = "the processor multiplies it natively, and its vectors were checked"
                except InputError as error:
                    reason = str(error)
        logger.info("%s is computed in %s: %s", self.name, self.precision, reason)
        return reason

    def _why_not_int8(self) -> str:
        """Why ``"auto"`` does not become int8 here; empty where it does if the vectors agree."""
        return why_not_int8(self.device)

    def _int8_network(self, *, thoroughly: bool = False) -> Int8Network:
        """The graph of the present weights."""
        if self._int8 is None:
            self._int8 = Int8Network(self)
        else:
            self._int8.refresh(self, thoroughly=thoroughly)
        return self._int8

    def __getstate__(self) -> dict[str, Any]:
        # Copies make their own graph: a session of the runtime cannot be copied.
        return self.__dict__ | {"_int8": None}

    def _encode_int8(
        self, tokens: Tokens, order: Int64Array, out: Float32Array, progress: Progress | None
    ) -> None:
        if self.device.type != "cpu":
            raise InputError(
                f"the encoder computes in int8, which is for the CPU, and is on {self.device} now; "
                "set encoder.precision = 'float32' or 'bfloat16', or move it back"
            )
        # A single query does not wait for a digest of all weights.
        network = self._int8_network(thoroughly=len(order) >= TEXTS_WORTH_A_DIGEST)
        network.encode(self, tokens, order, out, progress)

    def _take_precision(self, wanted: Precision) -> None:
        """Compute as the saved encoder did; in float32, with a warning, where int8 cannot be had.

        Its vectors are near enough to the int8 ones to search what was trained on those.
        """
        try:
            self.precision = choose_precision(wanted, self.device)
            self.precision_reason = self._settle_precision(self.precision)
        except (InputError, MissingExtraError) as error:
            self.precision, self.precision_reason = "float32", str(error)
            logger.warning(
                "%s was saved as an int8 encoder and computes in float32 here, slower and with "
                "vectors of a cosine of about 0.99 to the int8 ones: %s",
                self.name,
                error,
            )
