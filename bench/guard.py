"""What CI holds the cost of a touch to: worker CPU per touch as a multiple of a fixed piece of work done beside it.

Machines differ by a factor of three from day to day; the multiple does not. `python -m bench.guard` measures and writes
`bench/recorded.json`, to be done on purpose, with the reason in the commit.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from bench.cost import measure
from pipeline.lab.local.kafka import LocalKafka

RECORDED = Path(__file__).parent / "recorded.json"
TOUCHES = {"email": 4_000, "sms": 2_000}
WORSE = 1.3
"""A touch that costs more than this times what is recorded fails the build."""
_SCHEMA = parse_schema(
    {
        "type": "record",
        "name": "Calibration",
        "fields": [
            *({"name": f"s{n}", "type": ["null", "string"]} for n in range(8)),
            *({"name": f"n{n}", "type": "long"} for n in range(8)),
            {"name": "m", "type": {"type": "map", "values": "string"}},
        ],
    }
)


@dataclass(frozen=True, slots=True)
class _Value:
    """As values of the pipeline are."""

    texts: tuple[str, ...]
    numbers: tuple[int, ...]
    more: dict[str, str]


def calibration_us(rounds: int = 20_000) -> float:
    """Return the CPU µs of one turn of a fixed piece of work, of the same kind as a worker's."""
    began = time.process_time()
    for n in range(rounds):
        datum = {f"s{k}": f"text {n} {k}" for k in range(8)} | {f"n{k}": n * k for k in range(8)} | {"m": {"a": str(n)}}
        out = BytesIO()
        schemaless_writer(out, _SCHEMA, datum)
        out.seek(0)
        read = json.loads(json.dumps(schemaless_reader(out, _SCHEMA, None)))
        value = _Value(tuple(read[f"s{k}"] for k in range(8)), tuple(read[f"n{k}"] for k in range(8)), dict(read["m"]))
        blake2b("".join(value.texts).encode(), digest_size=16).digest()
    return (time.process_time() - began) / rounds * 1e6


async def multiples(servers: LocalKafka, folder: Path) -> dict[str, float]:
    """Return, by channel, what a touch costs a worker in turns of the fixed work."""
    found = {}
    for channel, count in TOUCHES.items():
        (folder / channel).mkdir()
        before = calibration_us()
        cost = await measure(servers, folder / channel, channel, count, mode="streaming", workers=1, provider=None)
        found[channel] = round(cost.worker_us / ((before + calibration_us()) / 2), 2)
    return found


def recorded() -> dict[str, float]:
    """Return the multiples that `bench/recorded.json` holds."""
    return json.loads(RECORDED.read_text())  # type: ignore[no-any-return]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka") as kafka:
        found = asyncio.run(multiples(kafka, Path(folder)))
    print(f"recorded {recorded() if RECORDED.exists() else 'nothing'}, measured {found}")
    RECORDED.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
