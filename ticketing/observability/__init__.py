"""How a process is watched: logs, metrics, traces."""
