"""A model behind Ray Serve: requests are answered in batches, as many replicas as are asked for.

pip install 'learned-index[ray]' 'ray[serve]'
LI_MODEL=fast serve run examples.ray_serve:app
curl -s localhost:8000 -d '{"text": "fold the dough and let it rise", "k": 3}'
"""

from __future__ import annotations

import os
from typing import Any

from ray import serve

from learned_index.adapters.batches import answer_columns
from learned_index.elias.model import ELIAS
from learned_index.system.threads import set_threads


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 1})
class Labels:
    """A replica: a model that is opened once.

    Args:
        model: Directory of a saved model, at this path on every machine; best a compiled one.
    """

    def __init__(self, model: str) -> None:
        set_threads(1)
        self._model = ELIAS.from_pretrained(model)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.005)
    async def labels(self, asked: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """The labels of the texts of some requests."""
        most = max(int(each.get("k", 10)) for each in asked)
        columns = answer_columns(self._model, [str(each["text"]) for each in asked], k=most)
        rows = [
            [dict(zip(columns, values, strict=True)) for values in zip(*row, strict=True)]
            for row in zip(*columns.values(), strict=True)
        ]
        return [row[: int(each.get("k", 10))] for row, each in zip(rows, asked, strict=True)]

    async def __call__(self, request: Any) -> list[dict[str, Any]]:
        """A request: JSON with ``text`` and perhaps ``k``."""
        return await self.labels(await request.json())


app = Labels.bind(os.environ.get("LI_MODEL", "fast"))
