"""What the server and the client of HTTP share.

Modules:

    poller         readiness of many sockets, watched by one task
    timer_queues   timeouts of many waits, watched by one task
    reactor        the poller and the timer queue of a service's upstream connections
    fairness       a bound on the work of one connection before the others have a turn
    transfer_rate  the minimum rate of a transfer, below which it is aborted
    hosts          facts about host names and addresses
    networks       membership of an address in networks
    websocket      messages and frames of WebSockets
    http1/         header fields and framing
"""
