"""A session on a large image, by the workers of a dask cluster.

    python examples/dask_cluster.py city.clusternet big.tif big_labels.zarr
    python examples/dask_cluster.py city.clusternet big.tif big_labels.zarr tcp://10.0.0.1:8786

Without an address, two workers are started on this machine. Interrupted, the same command goes on
where it was. It needs the extra `distributed`.
"""

from __future__ import annotations

import sys

from distributed import Client, LocalCluster

import napari_clusternet as cn


def main(session: str, source: str, destination: str, address: str = "") -> None:
    """Connect, apply, and say how far it is."""
    if address:
        with Client(address) as client:
            run(session, source, destination, client)
        return
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        run(session, source, destination, client)


def run(session: str, source: str, destination: str, client: Client) -> None:
    """Classify the image piece by piece."""
    loaded = cn.Session.load(session)
    print(cn.apply(loaded, source, destination, client, callback=print))


if __name__ == "__main__":  # workers import this file
    main(*sys.argv[1:])
