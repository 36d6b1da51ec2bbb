"""One model on a Ray cluster, read by the sessions of any number of services: `affectstream serve --pool ADDRESS`.

A service's `client` sends the requests that are ready in one call to each replica. A `replica` is an actor that runs
the scheduler of `service.inference` on its engine. The `supervisor`, another actor, starts and replaces the replicas
and decides how many there are. Ray is imported inside functions alone, so that serving without a pool needs none.
"""
