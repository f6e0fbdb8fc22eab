"""The whole road in one process: the worker's own agents and senders on a simulated log, network and clock, from a seed.

Real: agents, stages, partitions and their ownership, the three senders with their verdicts and look-ups, the sandbox.
Simulated: the log with its transactions and fences (`log`), the consumer group (`group`), the network (`network`), time
and processes (`world`). `harm` draws what goes wrong, `judge` looks at what came of it.
"""
