"""Every ceiling for what arrives over HTTP and for what a request may cost. Ceilings inside documents stand in
`planner.limits`, which hold here too."""

from __future__ import annotations

from planner.units import KIB, MIB

MAX_BODY_BYTES = 512 * KIB
"""Longest body of a request, the description of a model included (1024 units in 150 KB are usual)."""

MAX_ONNX_BODY_BYTES = 16 * MIB
"""Longest ONNX file, weights included; what is longer is imported where it lies, and sent as a description."""

MAX_PROFILE_BYTES = 16 * MIB
"""Longest profile (the largest shipped one takes 450 KB). It is read in a solver worker, never in the API process."""

MAX_DRAINED_BYTES = 32 * MIB
"""How much of a body that is too long is received and thrown away, so that its sender reads the answer."""

MAX_REQUEST_LINE_BYTES = 4 * KIB
"""Longest path and query together."""

MAX_HEADERS = 64
"""Most headers of a request."""

MAX_HEADER_BYTES = 16 * KIB
"""All headers of a request together."""

MAX_BODY_SECONDS = 20.0
"""Longest that a body may take to arrive."""

HEAD_SECONDS = 10.0
"""Longest that the head of a request may take to arrive, from when its connection began or from its first byte."""

MAX_HEAD_BYTES = 64 * KIB
"""Longest head of a request that is read to be refused in words; the connection of a longer one is closed."""

MAX_FORM_BYTES = 4 * KIB
"""Longest form for signing in."""

MAX_FORM_SECONDS = 5.0
"""Longest that it may take to arrive."""

UNREAD_SECONDS = 30.0
"""A connection ends whose client has taken nothing of what was sent for so long."""

MAX_CONNECTIONS = 1024
"""Most connections at one time; a further one takes the place of one that waits for a request, or is closed."""

HEALTH_CONNECTIONS = 16
"""Connections beyond these, that are good for asking after health."""

MAX_WITHOUT_TOKEN = 64
"""Most requests being answered at one time that need no token: signing in, and the page for it."""

MAX_WITHOUT_TOKEN_OF_ONE = 16
"""Most of these of one client."""

MAX_IN_FLIGHT = 384
"""Most requests being answered at one time, event streams and those that need no token left out."""

MAX_BODIES_BYTES = 32 * MIB
"""All bodies in memory at one time, together; more are answered with 503."""

MAX_EVENT_STREAMS = 256
"""Most event streams at one time."""

TOKEN_CHECK_SECONDS = 5.0
"""How often it is looked whether the token of an open event stream is still good."""

STORE_THREADS = 6
"""Threads that talk to the database for requests."""

WRITE_SECONDS = 3.0
"""A write that takes longer waits for another process that has locked the database; further ones get 503."""

LEAST_FREE_BYTES = 16 * MIB
"""With less room for its database a service is not ready."""

MAX_PAGE = 200
"""Most items of one page."""

DEFAULT_PAGE = 50
"""Items of one page unless asked otherwise."""

MAX_SAMPLES_PER_POST = 1000
"""Most samples in one batch."""

MAX_SAMPLES_PER_RUN = 5_000_000
"""Most samples kept of one run; their sequence numbers stay below this."""

MAX_REASON_LENGTH = 2000
"""Longest reason of a run's end."""

MAX_LABELS = 20
"""Most labels of one thing."""

MAX_LABEL_LENGTH = 64
"""Longest label."""

MAX_NOTES_LENGTH = 10_000
"""Longest notes on one thing."""

MAX_POINTS = 5000
"""Most points of one chart."""

DEFAULT_POINTS = 1000
"""Points of one chart unless asked otherwise."""

HEARD_SECONDS = 30.0
"""How often it is written down at most that a run was heard of."""

SILENCE_SECONDS = 150.0
"""A run that is not heard of for so long is lost: its device says something every 30 s."""

MAX_WAITING_SAMPLES = 50_000
"""Most samples that wait for their commit; more are answered with 503."""

MAX_COMPARED = 16
"""Most plans of one comparison."""

SOLVER_BYTES = 512 * MIB
"""What a solver worker may map beyond what it has when it is warm."""

SOLVER_SECONDS = 20.0
"""Longest that one request may keep a solver worker busy."""

FRONTIER_SECONDS = 6.0
"""About how long a frontier may take: with a model whose plans take longer to make, it gets fewer points."""

MAX_WAITING_SOLVES = 32
"""Most requests that wait for a solver worker; more are answered with 503."""

MAX_QUEUED_JOBS = 50
"""Most jobs that wait; more are answered with 429."""

JOB_SECONDS = 1800
"""Longest measurement of one job."""

JOB_CPU_SECONDS = 4 * JOB_SECONDS
"""Processor time of the process that measures for a job."""

JOB_ATTEMPTS = 2
"""How often a job is begun whose worker was killed."""

LEASE_SECONDS = 20.0
"""A running job whose worker has not been heard of for so long has lost it."""

ENROLMENT_SECONDS = 900
"""Life of an enrolment token unless asked otherwise."""

MAX_ENROLMENT_SECONDS = 24 * 3600
"""Longest life of an enrolment token."""

MAX_TOKEN_DAYS = 3650
"""Longest life of a named token that has an end."""

THINNED_POINTS = 1000
"""About how many samples are kept of a run whose samples are thinned."""

UPKEEP_SECONDS = 60.0
"""How often it is looked whether something is to be thinned, dropped or forgotten."""

WEBHOOK_LOOK_SECONDS = 2.0
"""How often it is looked whether a run's state has to be told."""

WEBHOOK_SECONDS = 10.0
"""Longest that the other side of a webhook may take, and the first wait after it has failed."""

WEBHOOK_MOST_WAIT_SECONDS = 300.0
"""Longest wait before it is tried again."""

WEBHOOK_GIVE_UP_SECONDS = 24 * 3600
"""A state is told no more of a run that was heard of so long ago."""

FULL_SECONDS = 60
"""What Retry-After says where the database is beyond its quota."""

AUDIT_SECONDS = 400 * 24 * 3600
"""How long it is kept who changed what."""

SESSION_SECONDS = 12 * 3600
"""Life of a browser's session."""

MAX_KEY_LENGTH = 128
"""Longest Idempotency-Key."""

DELETED_SECONDS = 10.0
"""How often it is looked whether a plan in memory was deleted by another process."""

PLAN_CACHE_BYTES = 8 * MIB
"""Plans kept in memory, ready to be sent."""

CACHED_PLANS = 2048
"""Requests for plans, by the hash of their text, whose answer is remembered."""

RETRY_SECONDS = 2
"""What Retry-After says where nothing better is known."""

SEEN_SECONDS = 30.0
"""How often it is written down at most that a device was heard of."""

KNOWN_MODELS = 24
"""Models whose description an API process keeps, read already."""

SOLVER_PROFILES = 8
"""Decoded profiles that a solver worker keeps; the one unused for longest goes first."""
