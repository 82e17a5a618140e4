# What starting takes, and what the guard rests on.
. jobs/lib.sh
step doctor neuroflux doctor --json
step guard-tight python3 jobs/guard.py tight
step guard-fast python3 jobs/guard.py fast
