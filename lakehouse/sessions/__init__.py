"""Sessions: the runs that requests belong to, and their end.

    identity (`core.session_identity`)   what a request says about its run
    `registry`                           the runs that this process knows: joined and left by requests, stopped by name
    `session`                            one run: its agents, and its last calls that ended
    `stops`                              the names that are refused
    `limits`                             what a session may use: its rate of calls, its tokens, its cost and its time
    `loops`                              the same steps again and again, found in the history that a request carries
    `violations`                         a limit or a rule that was broken, and the error for it
    `reports`                            what one process knows, and the sum over several processes
    `documents`                          the sum as the API shows it

A session is the scope of everything that its requests start: `SessionRegistry.stop` ends each of its requests as their
own deadline would.
"""
