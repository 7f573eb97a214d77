"""A key is revoked at one of three nodes: how long its live sockets stay open there, on a node that is notified, and on one that
has to look, as it does each second. The nodes share one Postgres, without the disk's time (fsync=off)."""

from cluster import running_cluster
from fleet import Fleet, Founding, wait_until_known
from operators import Operator
from places import RELEASE_BINARY
from revoked_keys import SOCKETS, ProxiedNodes, revoke

ROUNDS = 50
# So that a round begins anywhere between two looks.
PAUSE = 1
WHO = {"one": "the node that took the call", "two": "a node that is notified", "deaf": "a node that only polls"}


def main() -> None:
    with running_cluster() as cluster:
        founding = Founding(cluster, RELEASE_BINARY)
        with Fleet(founding) as fleet, ProxiedNodes(fleet, cluster.folder) as proxied:
            secret = fleet.admin_token()
            nodes = [proxied.start(name, hears=name != "deaf")[0] for name in WHO]
            operator = Operator(nodes[0], secret)
            tenant = operator.tenant()
            keys = [operator.key(tenant) for _ in range(ROUNDS)]
            wait_until_known(keys[-1]["key"], nodes)
            figures = revoke(operator, tenant, nodes, keys, PAUSE)
    print(f"A key is revoked: from the call to the close of its sockets, {SOCKETS} on each of 3 nodes, {ROUNDS} rounds")
    print(f"{'':<32} {'p50':>9} {'p99':>9} {'longest':>9}")
    for name, who in WHO.items():
        shown = (figures.percentile(name, 50), figures.percentile(name, 99), max(figures.of[name]))
        print(f"{who:<32}" + "".join(f" {one:6,.0f} ms" for one in shown))
    print()


if __name__ == "__main__":
    main()
