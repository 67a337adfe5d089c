"""The states of a client's connection, and why reading from it may be paused."""

WAITING = 0  # for a head, or in the middle of one
JUDGING = 1  # the head is read; policies or a dial are waited for
GATHERING = 2  # a small body is awaited whole, before a connection is taken for it
SENDING = 3  # the body goes up as it comes
SENT = 4  # all of the request is read; the reply is awaited or streams
TUNNEL = 5  # after a 101
DRAINING = 6  # the reply is over before the request's body: the rest is thrown away
LINGERING = 7  # the last reply is written; input is thrown away until the client closes
GONE = 8

# bits of Downstream.paused
HOLDING = 1  # as much is held as may be
UPSTREAM_FULL = 2  # the upstream takes no more just now
