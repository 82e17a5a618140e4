# A torch that the processor cannot run.
. jobs/lib.sh
step doctor neuroflux doctor --json
step profile neuroflux profile --model model.json --batch 8
